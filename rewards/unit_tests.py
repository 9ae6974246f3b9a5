"""Code by its unit tests: the share of a row's tests that a response's program passes (APPS, arXiv 2105.09938; CodeRL,
arXiv 2207.01780), 0 to 1.

It executes what a model wrote, so no recipe has it unless you name it. It does so in a sandbox only: bubblewrap
(`rewards.sandbox`), or another machine. Known failure: a test that is code runs in the program's own interpreter,
where the program could find out how a verdict is given. Inputs with expected outputs cannot be deceived like that, but
where there are few of them a program can list the answers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rewards.frozen.encoding import response_text
from rewards.sandbox.bubblewrap import Bubblewrap, Limits
from rewards.sandbox.remote import RemoteRunner
from rewards.verifiable import reference_column

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^`\n]*)$", re.MULTILINE)


@dataclass(frozen=True)
class UnitTest:
    """One test: code that raises if the program is wrong, or what the program reads and has to print.

    Attributes:
        code: None for the second kind.
        stdin: given to the program.
        output: compared line by line, without spaces at the ends of lines and empty lines at the end.
    """

    code: str | None = None
    stdin: str = ""
    output: str = ""


def last_block(text: str) -> str | None:
    """The content of the last fenced block, without its language; None without any, or where the last never closes."""
    opened, found = None, None
    for mark in _FENCE.finditer(text):
        if opened is None:
            opened, found = mark, None
        elif mark[1][0] == opened[1][0] and len(mark[1]) >= len(opened[1]) and not mark[2].strip():
            found, opened = text[opened.end() + 1 : mark.start()], None
    return found if opened is None else None


def read_tests(value: Any) -> list[UnitTest]:
    """The tests of a row.

    Args:
        value: a list of asserts or other code (MBPP's `test_list`), or of mappings {"input", "output"}; a mapping of
            the lists "inputs" and "outputs" (APPS); one text of code (HumanEval's `test`); or any of them as JSON.
            None and an empty list are no tests.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except json.JSONDecodeError:
            read = value
        value = read if not isinstance(read, str) else [read] if read.strip() else []
    if value is None:
        return []
    if isinstance(value, Mapping):
        if not ("inputs" in value and "outputs" in value and len(value["inputs"]) == len(value["outputs"])):
            raise ValueError(f"tests with {sorted(value)}: give as many inputs as outputs, or a list of tests.")
        value = [{"input": i, "output": o} for i, o in zip(value["inputs"], value["outputs"])]
    if not isinstance(value, Sequence):
        raise ValueError(f"tests of the type {type(value).__name__}: give a list.")
    found = []
    for test in value:
        if isinstance(test, str):
            found.append(UnitTest(code=test))
        elif isinstance(test, Mapping) and {"input", "output"} <= set(test):
            lines = ("\n".join(x) if isinstance(x, list) else str(x) for x in (test["input"], test["output"]))
            found.append(UnitTest(None, *lines))
        else:
            raise ValueError(f'a test is code, or has "input" and "output", but one is {str(test)[:80]!r}.')
    return found


def same_output(printed: str, wanted: str) -> bool:
    """Whether two outputs are the same, but for spaces at the ends of lines and empty lines at the end."""
    mine, other = ([line.rstrip() for line in text.rstrip().splitlines()] for text in (printed, wanted))
    return mine == other


class UnitTests:
    """The share of a row's tests that the last fenced block of a response passes, or 1 where it passes all, else 0.

    A response without a closed block has 0, a row without tests None.

    Args:
        column: the dataset's column with the tests (`read_tests`).
        score: "share" or "all".
        runner: URL of a machine that runs programs (`rewards.sandbox.remote`); None runs them here in bubblewrap.
        seconds, memory, processes, output: of a program, see `rewards.sandbox.bubblewrap.Limits`.
        workers: programs at once in this process; None: as many as there are processors.

    Raises:
        RuntimeError: bubblewrap is missing or cannot be used; and when called, a program could not be run at all.
        ValueError: another `score`; and when called, no such column, or tests that are in no known form.
    """

    __name__ = "unit_tests"

    def __init__(
        self,
        column: str = "tests",
        score: str = "share",
        runner: str | None = None,
        seconds: int = 5,
        memory: int = 512,
        processes: int = 16,
        output: int = 256,
        workers: int | None = None,
    ):
        if score not in ("share", "all"):
            raise ValueError(f"score is {score!r}; give share or all.")
        limits = Limits(seconds, memory, processes, output)
        self.column, self.score, self.workers = column, score, workers or os.cpu_count() or 1
        self.runner: Bubblewrap | RemoteRunner = RemoteRunner(runner) if runner else Bubblewrap(limits)

    def __call__(self, completions: Sequence, completion_ids=None, log_extra=None, **columns) -> list[float | None]:
        """TRL's reward-function interface. `log_extra` is given how many tests each response passed, as "2 of 3"."""
        rows = [read_tests(value) for value in reference_column(columns, self.column, self.__name__)]
        programs = [last_block(response_text(completion)) for completion in completions]
        with ThreadPoolExecutor(self.workers) as pool:
            verdicts = [
                [pool.submit(self.passes, program, test) for test in tests] if program is not None else []
                for program, tests in zip(programs, rows, strict=True)
            ]
            passed = [sum(verdict.result() for verdict in of_it) for of_it in verdicts]
        if log_extra is not None:
            log_extra("unit_tests", [f"{n} of {len(tests)}" for n, tests in zip(passed, rows)])
        if self.score == "all":
            return [float(n == len(tests)) if tests else None for n, tests in zip(passed, rows)]
        return [n / len(tests) if tests else None for n, tests in zip(passed, rows)]

    def passes(self, program: str, test: UnitTest) -> bool:
        """Whether a program passes one test."""
        if test.code is not None:
            return self.runner.run(program, test=test.code).passed
        outcome = self.runner.run(program, stdin=test.stdin)
        return outcome.passed and same_output(outcome.output, test.output)
