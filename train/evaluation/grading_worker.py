r"""What a grading process does: compare answers by math-verify, one request after the other, without any time-out.

Run as a script by `grading`, which ends it when its time is up. It imports nothing but math-verify, so that a
replacement is there in half a second. Requests and replies are lines of JSON on stdin and stdout; an error ends it.
"""

from __future__ import annotations

import json
import logging
import math
import re
import signal
import sys
from collections.abc import Sequence
from functools import lru_cache

from math_verify import parse, verify

_SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?\d+)(?![\w.])")


def plain_latex(answer: str) -> str:
    r"""Programmers' notation in some gold answers as LaTeX: 8.7e8, np.arcsin(x), -3./2."""
    answer = _SCIENTIFIC.sub(r"\1 \\times 10^{\2}", answer)
    return re.sub(r"(\d)\.(?=\s*/)", r"\1", re.sub(r"\bnp\.(?=[a-z])", r"\\", answer))


def matches(answer: str, gold: str) -> bool:
    """Whether math-verify finds an answer equal to the gold one."""
    return verify(_parsed(gold), _parsed(answer), float_rounding=_decimals(gold), timeout_seconds=None)


def same(a: str, b: str) -> bool:
    """Whether math-verify finds two answers equal, in either order (its `verify` is not symmetric)."""
    return matches(a, b) or matches(b, a)


def grade_answer(answer: str, golds: Sequence[str]) -> tuple[bool, str]:
    """(right, answer) of the content of a box: right if it is one of the gold answers, as text or for math-verify."""
    return answer in golds or any(matches(answer, gold) for gold in golds), answer


def grade_text(text: str, golds: Sequence[str]) -> tuple[bool, str | None]:
    """(right, answer) of a text without a box: its answer is the last formula or number, near "answer is" first."""
    found = parse(text, parsing_timeout=None)
    return grade_answer(str(found[-1]), golds) if found else (False, None)


@lru_cache(maxsize=4096)
def _parsed(answer: str) -> list:
    return parse(rf"\boxed{{{plain_latex(answer)}}}", parsing_timeout=None)


@lru_cache(maxsize=4096)
def _decimals(gold: str) -> int:
    """math-verify rounds decimals to 6 places, which makes zero of 1e-7 and of 2e-7: keep 4 digits of the gold."""
    value = _parsed(gold)[0] if _parsed(gold) else None
    if not getattr(value, "is_number", False) or not value.is_real or value == 0:
        return 6
    return max(6, 3 + math.ceil(-math.log10(abs(float(value)))))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time-outs are off
    functions = {f.__name__: f for f in (matches, same, grade_answer, grade_text)}
    same(r"\frac{1}{2}", "0.5")  # what sympy loads late is loaded before the clock runs
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, arguments, seconds = json.loads(line)
        # Should the parent be killed, nobody stops a hung worker: the kernel then does, after this much CPU time.
        signal.setitimer(signal.ITIMER_PROF, seconds + 5)
        print(json.dumps(functions[name](*arguments)), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
