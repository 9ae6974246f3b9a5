"""Requests that come at once are scored in one call of the reward: trainers elsewhere ask for one response each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Request:
    """The rows of one request, and who waits for them.

    Attributes:
        prompts, responses: n each.
        columns: of the data, n values each.
        done: gets n rewards.
    """

    prompts: Sequence
    responses: Sequence
    columns: Mapping[str, Sequence]
    done: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Calls a reward with the rows of all requests that have come since its last call.

    Args:
        reward: TRL's reward function, which has to score each row by itself.
        most: rows of a call; a request with more has a call of its own.
    """

    def __init__(self, reward: Callable, most: int = 64):
        self.reward, self.most = reward, most
        self._waiting: list[Request] = []
        self._come = asyncio.Event()
        self.calls = 0

    async def score(self, prompts: Sequence, responses: Sequence, columns: Mapping[str, Sequence]) -> list:
        """The rewards of some rows: a number each, None where the reward does not apply.

        Raises:
            what the reward raised about these rows.
        """
        request = Request(prompts, responses, columns)
        self._waiting.append(request)
        self._come.set()
        return await request.done

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._come.wait()
            batch = self._next()
            if not batch:
                self._come.clear()
                continue
            try:
                await self._call(batch)
            except Exception as error:
                if len(batch) == 1:
                    _tell(batch[0], error=error)
                    continue
                for request in batch:  # whose rows they were is found out one by one
                    try:
                        await self._call([request])
                    except Exception as own:
                        _tell(request, error=own)

    def _next(self) -> list[Request]:
        """The oldest request, and others with the same columns, up to `most` rows. Who has gone is left out."""
        self._waiting = [request for request in self._waiting if not request.done.done()]
        batch: list[Request] = []
        rows = 0
        for request in self._waiting:
            fits = not batch or rows + len(request.prompts) <= self.most
            if fits and (not batch or set(request.columns) == set(batch[0].columns)):
                batch.append(request)
                rows += len(request.prompts)
        self._waiting = [request for request in self._waiting if request not in batch]
        return batch

    async def _call(self, batch: Sequence[Request]) -> None:
        prompts, responses = ([row for r in batch for row in getattr(r, side)] for side in ("prompts", "responses"))
        columns = {name: [value for r in batch for value in r.columns[name]] for name in batch[0].columns}
        self.calls += 1
        # in a thread, so that requests are taken meanwhile
        values: list[Any] = list(
            await asyncio.to_thread(self.reward, prompts=prompts, completions=responses, **columns)
        )
        if len(values) != len(prompts):
            raise RuntimeError(f"the reward gave {len(values)} values for {len(prompts)} responses")
        start = 0
        for request in batch:
            _tell(request, values[start : start + len(request.prompts)])
            start += len(request.prompts)


def _tell(request: Request, values: list | None = None, error: Exception | None = None) -> None:
    if request.done.done():  # the client has gone
        return
    if error is not None:
        request.done.set_exception(error)
    else:
        request.done.set_result(values)
