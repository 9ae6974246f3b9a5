"""A small OpenAI-compatible server in a thread, which behaves or not, and what a tiny judge would answer there."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch


class JudgeServer(ThreadingHTTPServer):
    """Answers each request by `answer(body)`: what to send as JSON, or (status, text, headers).

    Attributes:
        requests: (path, headers, body) of all requests so far.
        most: the most requests that were in work at a time.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.requests = answer, []
        self.lock, self.working, self.most = threading.Lock(), 0, 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((self.path, dict(self.headers), body))
            server.working += 1
            server.most = max(server.most, server.working)
        result = server.answer(body)
        with server.lock:
            server.working -= 1
        status, text, headers = result if isinstance(result, tuple) else (200, json.dumps(result), {})
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(text.encode()))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(answer):
    """A server on a port of its own, until the block ends."""
    server = JudgeServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(**probabilities):
    """A response whose first token has these probabilities; `_` in a name is a space."""
    top = [{"token": t.replace("_", " "), "logprob": float(torch.tensor(p).log())} for t, p in probabilities.items()]
    return {"choices": [{"message": {"content": ""}, "logprobs": {"content": [{"top_logprobs": top}]}}]}


def saying(text):
    return {"choices": [{"message": {"content": text}, "logprobs": None}]}


def as_server(model, tokenizer):
    """`answer` of a vLLM server that has this model: through its chat template, one row at a time.

    As vLLM does, it draws a token, lists that first and then the likeliest others, as many in all as were asked for;
    the log-probabilities are those of temperature 1 whatever the temperature is.
    """
    lock, generator = threading.Lock(), torch.Generator().manual_seed(0)

    def answer(body):
        ids = tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        with lock, torch.no_grad():
            if not body.get("logprobs"):
                row = list(ids)
                while len(row) < len(ids) + body["max_tokens"] and (row[-1] != 2 or len(row) == len(ids)):
                    row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
                return saying(tokenizer.decode(row[len(ids) :], skip_special_tokens=True))
            lp = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            temperature = body["temperature"]
            drawn = (lp / temperature).softmax(-1).multinomial(1, generator=generator) if temperature else lp.argmax()
        order = dict.fromkeys([int(drawn), *lp.topk(body["top_logprobs"]).indices.tolist()])
        listed = [{"token": tokenizer.decode([i]), "logprob": float(lp[i])} for i in order][: body["top_logprobs"]]
        content = [listed[0] | {"top_logprobs": listed}]
        return {"choices": [{"message": {"content": listed[0]["token"]}, "logprobs": {"content": content}}]}

    return answer
