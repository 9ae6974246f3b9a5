r"""Grading in worker processes: right, wrong, or ungraded, never silently wrong.

Answers are found and compared by `rewards.answers`, as in the reward `accuracy`. That bounds what it computes and
keeps no clock; should math-verify or sympy hang or die even so, it is in a process of its own that is killed and
replaced, and the response is "ungraded", with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tqdm.auto import tqdm

from rewards.answers import cluster_answers, final_answer, gold_answers

SECONDS = 60.0  # for one answer; a busy machine, which takes a second or two, must not come near
STARTING = 600.0  # seconds for a worker to start; it takes half a second where nothing else runs
NO_GOLD = "there is no gold answer"
WORKER = Path(__file__).with_name("grading_worker.py")


@dataclass(frozen=True)
class Grade:
    """`verdict` is "right", "wrong" or "ungraded"; `answer` what was taken for the answer; `reason` why ungraded."""

    verdict: str
    answer: str | None = None
    reason: str = ""


class Graders:
    """A pool of grading processes. Use it in a `with` statement.

    Args:
        workers: processes, default one per core.
        seconds: of wall time for one answer; what takes longer is "ungraded".
        tolerance: see `rewards.answers.matches`; 0 takes decimals as they are written.
    """

    def __init__(self, workers: int | None = None, seconds: float = SECONDS, tolerance: float = 0.0):
        self.seconds, self.tolerance, self.replaced = seconds, tolerance, 0
        count = workers or os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(count)  # each waits for one worker
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in [_Worker() for _ in range(count)]:
            self._free.put(worker)

    def __enter__(self) -> Graders:
        return self

    def __exit__(self, *_) -> None:
        self._threads.shutdown(cancel_futures=True)
        while not self._free.empty():
            self._free.get().stop()

    def grade(
        self,
        responses: Sequence[str],
        golds: Sequence[Sequence[str]],
        boxed_only: bool = False,
        progress: bool = False,
    ) -> list[Grade]:
        r"""Grade each response by its final answer, see `rewards.answers`.

        Args:
            golds: of each response, its right answers. Without any the response is "ungraded".
            boxed_only: a response without a box has no answer and is wrong.
            progress: show a progress bar.
        """
        jobs: dict[tuple[str | None, tuple[str, ...]], None] = {}
        keys = []
        for text, right in zip(responses, golds, strict=True):
            answer, wanted = final_answer(text, boxed_only), tuple(gold_answers(list(right)))
            keys.append((answer, wanted))
            if answer is not None and wanted:
                jobs.setdefault(keys[-1])  # the same answer to the same problem is graded once
        results = self._threads.map(lambda job: self.ask("is_right", job[0], job[1], self.tolerance), jobs)
        grades = {key: Grade("wrong") if key[1] else Grade("ungraded", key[0], NO_GOLD) for key in keys}
        for job, (result, reason) in zip(jobs, tqdm(results, "grading", len(jobs), disable=not progress)):
            verdict = "ungraded" if reason else "right" if result else "wrong"
            grades[job] = Grade(verdict, job[0], reason)
        return [grades[key] for key in keys]

    def cluster(self, groups: Sequence[Sequence[str | None]]) -> list[tuple[list[int | None], int]]:
        """`cluster_answers` of each group, and how many comparisons hung or crashed: those count as different."""

        def clusters(group: Sequence[str | None]) -> tuple[list[int | None], int]:
            failed = 0

            def same(a: str, b: str) -> bool:
                nonlocal failed
                result, reason = self.ask("equivalent", a, b)
                failed += bool(reason)
                return bool(result)

            return cluster_answers(group, same), failed

        return list(self._threads.map(clusters, groups))

    def ask(self, function: str, *arguments) -> tuple:
        """``(result, "")`` of a function of the worker, ``(None, reason)`` when that hung or crashed."""
        worker = self._free.get()
        try:
            result, reason = worker.ask(function, arguments, self.seconds)
            if reason:
                worker.stop()
                self.replaced += 1
                worker = _Worker()
            return result, reason
        finally:
            self._free.put(worker)


class _Worker:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.requests = cast(IO[bytes], self.process.stdin)
        self.replies = cast(IO[bytes], self.process.stdout)
        self.ready = False

    def ask(self, function: str, arguments: tuple, seconds: float) -> tuple:
        if not self.ready:
            self._wait_for_start()
        try:
            self.requests.write(json.dumps([function, arguments, seconds]).encode() + b"\n")
            self.requests.flush()
        except BrokenPipeError:
            return None, self._end()
        if not select.select([self.replies], [], [], seconds)[0]:
            return None, f"not done after {seconds:g} s"
        reply = self.replies.readline()
        return (json.loads(reply), "") if reply.endswith(b"\n") else (None, self._end())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.replies.close()
        with contextlib.suppress(BrokenPipeError):  # what was not flushed, no one will read
            self.requests.close()

    def _wait_for_start(self) -> None:
        started = select.select([self.replies], [], [], STARTING)[0] and self.replies.readline()
        if not started:
            raise RuntimeError(
                f"a grading process did not start ({WORKER}): install math-verify for {sys.executable}, or use fewer "
                "workers if memory is short"
            )
        self.ready = True

    def _end(self) -> str:
        return f"the worker ended with exit code {self.process.wait()}"
