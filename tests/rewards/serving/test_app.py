"""A reward behind HTTP: its scores are those of a call, and what cannot be scored is refused in words."""

import asyncio
import json
import socket
import threading

import httpx
import pytest
import uvicorn
from limits import LIMIT
from starlette.testclient import TestClient
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase
from rewards.serving.app import make_app
from rewards.verifiable import Accuracy


def echo(prompts, completions, **columns):
    """The length of a response; the prompt says what goes wrong."""
    if "value" in prompts:
        raise ValueError("such a prompt")
    if "bug" in prompts:
        raise ZeroDivisionError("a bug")
    special = {"none": None, "nan": float("nan")}
    return [special.get(p, float(len(c))) if isinstance(p, str) else -1.0 for p, c in zip(prompts, completions)]


@pytest.fixture(scope="module")
def client():
    with TestClient(make_app(echo, "echo", most_rows=4, most_bytes=100_000, most_text=1000)) as client:
        yield client


def test_rewards_of_texts_and_messages(client):
    chat = [{"role": "user", "content": "x"}]
    body = {"prompts": ["a", chat, "none"], "responses": ["bc", [{"role": "assistant", "content": "d"}], ""]}
    assert client.post("/score", json=body).json() == {"rewards": [2.0, -1.0, None]}
    assert client.get("/health").json()["reward"] == "echo"


GOOD = {"prompts": ["a"], "responses": ["b"]}
CHAT = [{"role": "user", "content": "x"}]
BAD = [  # path, body, status
    ("/score", b"", 422),
    ("/score", b"{", 422),
    ("/score", b"\xff\xfe", 422),
    ("/score", b"[" * 50_000, 422),
    ("/score", b"null", 422),
    ("/score", b"[]", 422),
    ("/score", b'"text"', 422),
    ("/score", {}, 422),
    ("/score", {"prompts": ["a"]}, 422),
    ("/score", {"responses": ["a"]}, 422),
    ("/score", {"prompts": [], "responses": []}, 422),
    ("/score", {"prompts": "a", "responses": "b"}, 422),
    ("/score", {"prompts": [1], "responses": ["b"]}, 422),
    ("/score", {"prompts": [None], "responses": ["b"]}, 422),
    ("/score", {"prompts": ["a", "b"], "responses": ["b"]}, 422),
    ("/score", GOOD | {"columns": {"x": []}}, 422),
    ("/score", GOOD | {"columns": {"x": "y"}}, 422),
    ("/score", GOOD | {"columns": ["y"]}, 422),
    ("/score", GOOD | {"columns": {"completion_ids": [[1]]}}, 422),
    ("/score", GOOD | {"labels": ["x"]}, 422),
    ("/score", {"prompts": [[]], "responses": ["b"]}, 422),
    ("/score", {"prompts": [[{"role": "user"}]], "responses": ["b"]}, 422),
    ("/score", {"prompts": [[{"role": 1, "content": "x"}]], "responses": ["b"]}, 422),
    ("/score", {"prompts": [[{"role": "user", "content": [{"type": "image"}]}]], "responses": ["b"]}, 422),
    ("/score", {"prompts": [["x"]], "responses": ["b"]}, 422),
    ("/score", b'{"prompts": ["\\ud800"], "responses": ["b"]}', 422),
    ("/score", b'{"prompts": ["a"], "responses": [NaN]}', 422),
    ("/score", {"prompts": ["a"], "responses": ["b" * 1001]}, 422),
    ("/score", {"prompts": ["a"] * 65, "responses": ["b"] * 65}, 422),
    ("/score", {"prompts": ["value"], "responses": ["b"]}, 422),
    ("/score", b'{"prompts": ["' + b"a" * 200_000 + b'"]}', 413),
    ("/openrlhf", {"query": ["ab"], "prompts": ["b"]}, 422),
    ("/openrlhf", {"query": ["ab", "c"], "prompts": ["a"]}, 422),
    ("/openrlhf", {"query": ["ab"]}, 422),
    ("/openrlhf", {"query": ["ab"], "prompts": ["a"], "labels": ["x", "y"]}, 422),
    ("/openrlhf", {"query": ["noneb"], "prompts": ["none"]}, 422),
    ("/nowhere", GOOD, 404),
]


@pytest.mark.parametrize("path, body, status", BAD, ids=range(len(BAD)))
def test_bad_bodies_are_refused_in_words(path, body, status, client):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (status, 400), answer.text
    assert answer.json()["detail"]
    assert client.post("/score", json=GOOD).json() == {"rewards": [1.0]}  # and it goes on


def test_other_methods_and_types_are_refused(client):
    assert client.get("/score").status_code == 405
    assert client.post("/score", data={"prompts": "a"}).status_code == 422


def test_a_body_without_a_length_is_limited_too(client):
    assert client.post("/score", content=(b"x" * 1000 for _ in range(1000))).status_code == 413


def test_a_bug_of_the_reward_is_the_servers_fault(client):
    for prompt, said in (("bug", "the reward failed: a bug"), ("nan", "not finite")):
        answer = client.post("/score", json={"prompts": [prompt], "responses": ["b"]})
        assert answer.status_code == 500
        assert said in answer.json()["detail"]


def test_as_openrlhf_asks(client):
    """Its 0.11 posts one query a request, and reads "rewards", "scores" and "extra_logs"."""
    body = {"query": ["<|user|>2+2?<|assistant|>4<|end|>"], "prompts": ["<|user|>2+2?<|assistant|>"], "labels": [None]}
    answer = client.post("/openrlhf", json=body).json()
    assert answer == {"rewards": [8.0], "scores": [8.0], "extra_logs": {}}
    labels = {"query": ["Q: \\boxed{4}", "Q: \\boxed{5}"], "prompts": ["Q: "] * 2, "labels": ["4", "4"]}
    with TestClient(make_app(Accuracy(), "accuracy")) as accuracy:
        assert accuracy.post("/openrlhf", json=labels).json()["rewards"] == [1.0, 0.0]


@pytest.fixture
def server():
    """Starts a server on a free port, and gives its URL."""
    begun = []

    def start(reward) -> str:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        one = uvicorn.Server(uvicorn.Config(make_app(reward, "served"), log_level="error"))
        thread = threading.Thread(target=one.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        begun.append((one, thread))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for one, thread in begun:
        one.should_exit = True
        thread.join(LIMIT)


@pytest.mark.slow
def test_many_clients_at_once_get_the_scores_of_a_call(server):
    rm = EndoRM(FrozenBase(tiny_model()), tiny_tokenizer())
    rows = [("ab" * (i % 5 + 1), "cd" * (i % 7 + 1)) for i in range(256)]
    expected = rm.score(*zip(*rows))
    url = server(rm)

    async def ask():
        async with httpx.AsyncClient(timeout=LIMIT, limits=httpx.Limits(max_connections=64)) as client:
            bodies = [{"prompts": [prompt], "responses": [response]} for prompt, response in rows]
            gone = [asyncio.create_task(client.post(f"{url}/score", json=body)) for body in bodies[:8]]
            await asyncio.sleep(0)
            for task in gone:  # these clients are killed
                task.cancel()
            answers = await asyncio.gather(*(client.post(f"{url}/score", json=body) for body in bodies))
            return [answer.json()["rewards"][0] for answer in answers], (await client.get(f"{url}/health")).json()

    found, health = asyncio.run(ask())
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-5)
    assert health["calls"] < 200  # requests that came together were scored together
