"""A judge behind an OpenAI-compatible server, such as `vllm serve MODEL`: it needs none of the trainer's memory.

P("Yes") is read from `top_logprobs` of the first token that the server would write (POST /chat/completions with
`logprobs`). A server lists only its likeliest tokens. What is listed of an answer, with and without white space around
it, is summed; a spelling that is not listed would add no more than the least likely token that is. An answer of which
nothing is listed gets a bound: as many times that least token as an answer has spellings, and no more than the list
leaves of 1, nor than an answer that is listed, so that it never wins against one. Where neither answer is listed both
get the same: a tie, or 0.5 among the two. The share of questions with a bound is logged as `NAME/unlisted`: near 1,
the server says something else than the answers, for instance begins to think. A warning says which answers those were.

vLLM puts the token that it drew first, where it takes the place of the least likely one. So temperature 0 is asked
for: then this is the likeliest token, and a question's list always the same. (With another one in `extra_body` a bound
may differ by one rank.) The log-probabilities stay those of temperature 1, in vLLM with --logprobs-mode raw_logprobs
and processed_logprobs; where one token is left with all the probability, that is an error.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
import torch
from requests.adapters import HTTPAdapter
from torch import Tensor
from tqdm.auto import tqdm
from urllib3.util.retry import Retry

from rewards.frozen.messages import read_template_kwargs
from rewards.judges.judge import Judge
from rewards.judges.templates import Template, break_tokens

logger = logging.getLogger(__name__)

# vLLM fills in what a request leaves open from the model's generation config: Qwen's would reshape the distribution
NO_THINKING = {"enable_thinking": False}
CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}  # vLLM's and SGLang's names
PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "chat_template_kwargs": NO_THINKING}
PASSING = (408, 429, 500, 502, 503, 504)  # what may be over in a moment
SETUP = (401, 403, 404, 405)  # what no other question would change
ON_FAILURE = ("error", "none")
LONGEST_WAIT_S = 60.0
SPELLINGS = 2  # single tokens that say an answer, as a vocabulary has them: with a space before it and without
NEVER = -9999.0  # what OpenAI and vLLM write for the log of 0
# How models spell their special tokens. The served model's own are not known here.
SPECIAL = re.compile(r"<\|[^<>|\s]+\|>|<｜[^<>｜]+｜>|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_turn)>|\[/?INST\]")


class JudgeUnavailable(RuntimeError):
    """An endpoint gave no usable answer; the message says what to change.

    Attributes:
        lasting: whether every other question would fare alike.
    """

    def __init__(self, message: str, lasting: bool = False):
        super().__init__(message)
        self.lasting = lasting


class EndpointJudge(Judge):
    """A model on a server that speaks OpenAI's chat completions.

    Each process of a training asks for itself, with `concurrency` requests at a time. Texts go through the server's
    chat template as the template's messages; whatever looks like a special token in them is broken up by a space.

    Args:
        url: the server's address up to and with /v1.
        model: the name by which it serves the model.
        api_key_env: environment variable with the API key; None sends none. The key is in no log and no message.
        max_retries: further attempts of a request after a connection error, a timeout, or HTTP status 408, 429 or
            5xx. Before the second of them 2 `backoff_s` are waited, then twice as long each time, or as long as the
            server's Retry-After says, and never above a minute.
        concurrency: requests at a time.
        timeout_s: seconds to wait for a connection, and for the next bytes of an answer. All attempts together should
            stay within what the other processes of a training wait for one another.
        top_logprobs: tokens that the server lists; 20 is the most that OpenAI and, unless told otherwise, vLLM allow.
        on_failure: where all attempts failed or the answer makes no sense, "error", or "none": the response gets
            None, which trainers take for "does not apply". The share of those is logged as `NAME/failed`.
        extra_body: further fields of each request. The default are vLLM's for an unchanged distribution and no
            thinking phase; for a server that does not know these, give {}.
        backoff_s: the first wait.
        chat_template_kwargs: variables for the server's chat template, over the default's and under those that
            `extra_body` itself has in a field of that name.

    Attributes:
        asked, failed, unlisted: questions since `take_metrics`, those without an answer, and those with an answer
            whose log-probability is a bound.

    Raises:
        ValueError: settings that make no sense, or an environment variable that is not set.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        max_retries: int = 5,
        concurrency: int = 16,
        timeout_s: float = 60.0,
        top_logprobs: int = 20,
        on_failure: str = "error",
        extra_body: dict | None = None,
        backoff_s: float = 0.5,
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
    ):
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise ValueError("endpoint must be an address such as http://localhost:8000/v1, with no password in it.")
        if on_failure not in ON_FAILURE:
            raise ValueError(f"on_failure must be one of {ON_FAILURE}, got {on_failure!r}.")
        if max_retries < 0 or concurrency < 1 or timeout_s <= 0 or top_logprobs < 2 or backoff_s < 0:
            raise ValueError(
                "An endpoint needs max_retries of at least 0, concurrency of at least 1, top_logprobs of at least 2, "
                f"timeout_s above 0 and backoff_s of at least 0; got {max_retries}, {concurrency}, {top_logprobs}, "
                f"{timeout_s} and {backoff_s}."
            )
        self._key = os.environ.get(api_key_env) if api_key_env else None
        if api_key_env and not self._key:
            raise ValueError(f"The environment variable {api_key_env} is not set: put the endpoint's API key in it.")
        self.url, self.model = url.rstrip("/"), model
        self.concurrency, self.timeout_s, self.top_logprobs = concurrency, timeout_s, top_logprobs
        self.max_retries, self.on_failure = max_retries, on_failure
        self._own_body, self.extra_body = extra_body, PLAIN if extra_body is None else extra_body
        if chat_template_kwargs is not None:
            self.chat_template_kwargs = read_template_kwargs(chat_template_kwargs)
        self.asked = self.failed = self.unlisted = 0
        retry = _Retry(
            max_retries,
            status_forcelist=PASSING,
            allowed_methods=None,  # POST too: a question asked twice does no harm
            backoff_factor=backoff_s,
            backoff_max=LONGEST_WAIT_S,
            raise_on_status=False,  # the last answer says why
        )
        self._session = requests.Session()
        self._session.auth = self._authorise  # a session without would send a password from ~/.netrc
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=concurrency, max_retries=retry))

    def log_probs(self, template, questions, answers, progress=False) -> Tensor:
        """See `Judge.log_probs`. Spellings of an answer with white space around it count together, while a local
        judge reads one of them: after a chat template the others' share is next to nothing.

        Raises:
            JudgeUnavailable: no usable answer, with on_failure "error"; a wrong address, model or key in any case.
        """
        settings = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": self.top_logprobs}

        def read(choice: dict) -> tuple[list[float], list[str], list[str]]:
            if not choice["logprobs"]:
                raise ValueError("no logprobs in it: let the server give them (vLLM: --max-logprobs 20)")
            entries = choice["logprobs"]["content"][0]["top_logprobs"]
            listed = [(e["token"], float(e["logprob"])) for e in entries]
            return *answer_log_probs(listed, answers), [token for token, _ in listed[:5]]

        rows = self._ask_all(template, questions, settings, read, progress)
        bounded = [row for row in rows if row is not None and row[1]]
        self.unlisted += len(bounded)
        if bounded:
            times = Counter(answer for _, unlisted, _ in bounded for answer in unlisted)
            which = ", ".join(f"{answer!r} in {n}" for answer, n in times.items())
            logger.warning(
                "%s: bounds, not probabilities, for %s of %d questions: not among the %d tokens listed, e.g. %r",
                *(self.model, which, len(rows), self.top_logprobs, bounded[0][2]),
            )
        nothing = [math.nan] * len(answers)
        values = [nothing if row is None else row[0] for row in rows]
        return torch.tensor(values, dtype=torch.float32).reshape(len(rows), len(answers))

    def write(self, template, questions, max_new_tokens, progress=False) -> list[str | None]:
        """See `Judge.write`.

        Raises:
            JudgeUnavailable: as `log_probs`.
        """
        settings = {"max_tokens": max_new_tokens, "temperature": 0.0}
        return self._ask_all(template, questions, settings, lambda c: c["message"]["content"] or "", progress)

    def lend_variables(self, chat_template_kwargs: Mapping[str, Any]) -> None:
        """See `Judge.lend_variables`; only where the server is known to take them, by what `extra_body` has."""
        if "chat_template_kwargs" in self.extra_body:
            super().lend_variables(chat_template_kwargs)

    def _variables(self) -> dict:
        if self.variables is None:
            return {}
        default = {} if self._own_body is not None else NO_THINKING
        own = (self._own_body or {}).get("chat_template_kwargs", {})
        return {"chat_template_kwargs": {**default, **self.variables, **own}}

    def take_metrics(self) -> dict[str, float]:
        """Shares of the questions since the last call: without an answer (`failed`), with a bound (`unlisted`)."""
        asked, failed, unlisted = self.asked, self.failed, self.unlisted
        self.asked = self.failed = self.unlisted = 0
        return {"failed": failed / asked, "unlisted": unlisted / asked} if asked else {}

    def _ask_all(
        self, template: Template, questions: Sequence[dict], settings: dict, read: Callable, progress: bool
    ) -> list:
        """What `read` makes of the answer to each question; None where there is none and on_failure allows it."""
        asked = [template.fill_for(lambda t: break_tokens(SPECIAL, t), **question) for question in questions]
        begun = template.messages[-1]["role"] == "assistant"
        settings = settings | (CONTINUED if begun else {})
        bodies = [
            {"model": self.model, "messages": messages, "top_p": 1.0} | settings | self.extra_body | self._variables()
            for messages in asked
        ]
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            answers = pool.map(lambda body: self._ask(body, read), bodies)
            results = list(tqdm(answers, desc="judge", unit="question", total=len(bodies), disable=not progress))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, nothing new begins
        failures = [r for r in results if isinstance(r, JudgeUnavailable)]
        self.asked += len(results)
        self.failed += len(failures)
        if failures:
            logger.warning("%d of %d questions have no answer, e.g. %s", len(failures), len(results), failures[0])
        return [None if isinstance(r, JudgeUnavailable) else r for r in results]

    def _ask(self, body: dict, read: Callable):
        """What `read` makes of the answer, or the reason that there is none, if on_failure allows it."""
        try:
            return self._request(body, read)
        except JudgeUnavailable as reason:
            if self.on_failure == "error" or reason.lasting:
                raise
            return reason

    def _request(self, body: dict, read: Callable):
        where = f"The judge {self.model!r} at {self.url}"
        try:
            response = self._session.post(
                f"{self.url}/chat/completions", json=body, timeout=self.timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            raise JudgeUnavailable(
                f"{where} cannot be reached in {self.max_retries + 1} attempts ({self._hide(error)}): start it, "
                "correct the address, or raise timeout_s or max_retries."
            ) from None  # the cause says the same once more
        if response.status_code != 200:
            advice = {
                400: "shorten the question, or correct extra_body ({} for a server that is not vLLM)",
                401: "name the variable with a valid key in api_key_env",
                403: "name the variable with a valid key in api_key_env",
                404: "correct the endpoint (it ends with /v1) or the model's name",
                429: "lower concurrency, or raise max_retries",
            }.get(response.status_code, "see the server's log, or raise max_retries")
            raise JudgeUnavailable(
                f"{where} answers with status {response.status_code} ({self._hide(response.text)}): {advice}.",
                response.status_code in SETUP,
            )
        try:
            return read(response.json()["choices"][0])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise JudgeUnavailable(
                f"{where} gives an answer that cannot be read ({type(error).__name__}: {self._hide(error)}; "
                f"{self._hide(response.text)}): check that it is an OpenAI-compatible server with log-probabilities."
            ) from None

    def _authorise(self, request):
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _hide(self, text) -> str:
        """The beginning of a text for a message, without the key."""
        text = str(text).replace(self._key, "***") if self._key else str(text)
        return " ".join(text[:300].split())


class _Retry(Retry):
    def get_retry_after(self, response) -> float | None:
        """The server's Retry-After, but not an hour."""
        wait = super().get_retry_after(response)
        return wait and min(wait, LONGEST_WAIT_S)


def answer_log_probs(listed: Sequence[tuple[str, float]], answers: Sequence[str]) -> tuple[list[float], list[str]]:
    """Log-probability of each answer, from the likeliest tokens and their log-probabilities in nats.

    Args:
        listed: in the server's order. A first token that is the least likely of all was drawn from beyond the list
            and is left out; a pair that is there twice is one token, while two tokens may well have the same text.

    Returns:
        one number an answer: the log of the sum over its listed spellings, or for an answer that is not listed the
        bound that the head of this module describes; and the answers with a bound.

    Raises:
        ValueError: nothing is listed, what is listed are no log-probabilities, or they are those after the choice.
    """
    ranked = list(dict.fromkeys(reversed(listed)))  # so that of a pair listed twice the one at its rank is kept
    if len(ranked) > 1 and ranked[-1][1] < min(value for _, value in ranked[:-1]):
        del ranked[-1]
    if not ranked or not all(value <= 1e-3 for _, value in ranked):
        raise ValueError("no list of tokens with log-probabilities")
    possible = [(token, math.exp(value)) for token, value in ranked if value > NEVER]
    total = sum(p for _, p in possible)
    if not 0.0 < total <= 1.001:
        raise ValueError(
            f"the listed probabilities sum to {total:.4g}: let the server give log-probabilities, not logits "
            "(vLLM: --logprobs-mode raw_logprobs)"
        )
    if len(possible) == 1 and len(ranked) > 1:
        raise ValueError(
            "one token has all the probability, as after a greedy choice: let the server give log-probabilities from "
            'before it, or put "temperature": 1.0 in extra_body'
        )
    shares = [sum(p for token, p in possible if token.strip() == answer) for answer in answers]
    rest = max(1.0 - total, 1e-9)
    bound = min(rest, SPELLINGS * min(p for _, p in possible), *(share for share in shares if share > 0))
    unlisted = [answer for answer, share in zip(answers, shares) if share == 0]
    return [math.log(share or bound) for share in shares], unlisted
