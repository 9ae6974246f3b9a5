"""The HTTP interface of a reward: `/score` of this project's own, `/openrlhf` as OpenRLHF's `remote_rm_url` calls it
(its release 0.11: one query a request, with prompt and label), `/health`.

A body that cannot be scored gets a status of 4xx and words that say why, and never a reward.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from rewards.serving.batching import Batcher

logger = logging.getLogger(__name__)
Text = str | list[dict[str, Any]]


class Rows(BaseModel):
    """Rows to score.

    Attributes:
        prompts: texts, or chat messages.
        responses: as many.
        columns: of the data, such as {"solution": [...]}, as many values each.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    prompts: list[Text] = Field(min_length=1)
    responses: list[Text] = Field(min_length=1)
    columns: dict[str, list[Any]] = {}


class OpenRLHFRows(BaseModel):
    """What OpenRLHF sends.

    Attributes:
        query: prompts with their responses, special tokens among them.
        prompts: the texts that queries begin with.
        labels: right answers, or None.
    """

    model_config = ConfigDict(strict=True)
    query: list[str] = Field(min_length=1)
    prompts: list[str] = Field(min_length=1)
    labels: list[Any] | None = None


class Limited:
    """ASGI: bodies of more than so many bytes are refused, whether they say so at first or not."""

    def __init__(self, app, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope, receive, send):
        """ASGI's interface."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        more = True
        while more and len(body) <= self.most:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > self.most:
            said = {"detail": f"the body has more than {self.most:,} bytes: send fewer rows at once"}
            await JSONResponse(said, status_code=413)(scope, receive, send)
            return
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay():
            return next(given, None) or await receive()

        await self.app(scope, replay, send)


def make_app(reward: Callable, name: str, most_rows: int = 64, most_bytes: int = 32 * 2**20, most_text: int = 200_000):
    """The application.

    Args:
        reward: TRL's reward function, which scores each row by itself.
        name: that `/health` tells.
        most_rows: of a call of the reward; a request may have sixteen times as many.
        most_bytes: of a body.
        most_text: characters of a prompt or a response.

    Returns:
        an ASGI application for uvicorn.
    """
    batcher = Batcher(reward, most_rows)

    @asynccontextmanager
    async def lifespan(_):
        work = asyncio.create_task(batcher.run())
        yield
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    app = FastAPI(title=f"endorm: {name}", lifespan=lifespan)

    @app.exception_handler(RequestValidationError)
    async def say_what_is_wrong(_, error: RequestValidationError):
        # without what was sent, which need not be a text that can be sent back
        said = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
        return JSONResponse({"detail": said}, status_code=422)

    async def scored(prompts, responses, columns) -> list[float | None]:
        if problem := wrong(prompts, responses, columns, 16 * most_rows, most_text):
            raise HTTPException(422, problem)
        try:
            values = await batcher.score(prompts, responses, columns)
        except (ValueError, TypeError, KeyError) as error:  # what rewards raise about rows
            raise HTTPException(422, str(error)) from error
        except Exception as error:
            logger.exception("the reward failed")
            raise HTTPException(500, f"the reward failed: {error}") from error
        values = [None if value is None else float(value) for value in values]
        if any(value is not None and not math.isfinite(value) for value in values):
            raise HTTPException(500, "the reward is not finite")
        return values

    @app.get("/health")
    async def health():
        return {"reward": name, "calls": batcher.calls}

    @app.post("/score")
    async def score(rows: Rows):
        return {"rewards": await scored(rows.prompts, rows.responses, rows.columns)}

    @app.post("/openrlhf")
    async def openrlhf(rows: OpenRLHFRows, request: Request):
        if len(rows.query) != len(rows.prompts):
            raise HTTPException(422, f"{len(rows.query)} queries and {len(rows.prompts)} prompts")
        parts = [query.startswith(prompt) for query, prompt in zip(rows.query, rows.prompts)]
        if not all(parts):
            raise HTTPException(422, f"query {parts.index(False)} does not begin with its prompt")
        responses = [query[len(prompt) :] for query, prompt in zip(rows.query, rows.prompts)]
        labels = {"solution": rows.labels, "answer": rows.labels} if rows.labels is not None else {}
        values = await scored(rows.prompts, responses, labels)
        if None in values:
            raise HTTPException(422, f"row {values.index(None)}: the reward does not apply, and no number says so")
        return {"rewards": values, "scores": values, "extra_logs": {}}

    return Limited(app, most_bytes)


def wrong(prompts: list, responses: list, columns: dict, most_rows: int, most_text: int) -> str | None:
    """What is wrong with some rows; None if they can be scored."""
    counts = {"prompts": len(prompts), "responses": len(responses)} | {k: len(v) for k, v in columns.items()}
    if len(set(counts.values())) != 1:
        return "rows differ in number: " + ", ".join(f"{n} {what}" for what, n in counts.items())
    if len(prompts) > most_rows:
        return f"{len(prompts)} rows: send at most {most_rows} at once"
    for what, texts in (("prompts", prompts), ("responses", responses)):
        for i, text in enumerate(texts):
            if problem := wrong_text(text, most_text):
                return f"{what}.{i}: {problem}"
    if reserved := {"prompts", "completions", "completion_ids"} & set(columns):
        return f"columns that rewards know already: {', '.join(sorted(reserved))}"
    return None


def wrong_text(text: Text, most: int) -> str | None:
    """What is wrong with a prompt or response; None if nothing is."""
    if isinstance(text, str):
        contents = [text]
    else:
        if not text:
            return "no message"
        for message in text:
            if not (isinstance(message.get("role"), str) and isinstance(message.get("content"), str)):
                return 'a message needs "role" and "content", both texts'
        contents = [message["content"] for message in text]
    for content in contents:
        if len(content) > most:
            return f"{len(content):,} characters: send at most {most:,}"
        try:
            content.encode("utf-8")
        except UnicodeEncodeError:
            return "half of a surrogate pair, which is no text"
    return None
