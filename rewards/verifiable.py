r"""Verifiable rewards: rules that check a response, alone or against the right answer. All are 0 or 1, without units.

`accuracy`, `reasoning_accuracy` and `think_format` are TRL's, for text as well as for chat messages. Known failure of
all format rules: they are learnt in a few steps, and then say nothing of the answer.

In a recipe a name stands for the default settings. Others are given by the dotted path to an instance of one's own,
such as `my_package.my_rewards.gsm8k` with `gsm8k = ExactNumeric(column="answer")` in that module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from trl.rewards import accuracy_reward, reasoning_accuracy_reward, think_format_reward

from rewards.answers import has_box, last_boxed
from rewards.frozen.encoding import response_text

# Thousands in groups of three or plain digits, a fraction, an exponent that cannot overflow; a minus after a digit,
# letter or bracket is a subtraction.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])[-+])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?!\d))?"
)
_DECORATION = re.compile(r"\\[,!;: ]|\\?[$%]|\s")


def boxed(completions: Sequence, completion_ids=None, **columns) -> list[float]:
    r"""1 where the last ``\boxed{}`` of a completion is closed and not empty, else 0."""
    return [float(bool(last_boxed(response_text(completion)))) for completion in completions]


def think_format(completions: Sequence, completion_ids=None, **columns) -> list[float]:
    """1 where a completion begins with ``<think>...</think>``, else 0 (`trl.rewards.think_format_reward`)."""
    return think_format_reward(as_messages(completions))


class Accuracy:
    """1 where math-verify finds a completion's answer equal to the reference's, else 0; None where the reference
    cannot be parsed (`trl.rewards.accuracy_reward`). An answer counts only as LaTeX: boxed, or in a formula.

    Args:
        column: the dataset's column with the reference, a worked solution or an answer alone.

    Raises (when called):
        ValueError: the dataset has no such column.
    """

    __name__ = "accuracy"
    _reward: Callable[..., list[float | None]] = staticmethod(accuracy_reward)

    def __init__(self, column: str = "solution"):
        self.column = column

    def __call__(self, completions: Sequence, completion_ids=None, log_extra=None, **columns) -> list[float | None]:
        """TRL's reward-function interface. In the main thread, or math-verify has no time-out."""
        references = reference_column(columns, self.column, self.__name__)
        return self._reward(as_messages(completions), references, log_extra=log_extra)


class ReasoningAccuracy(Accuracy):
    """`Accuracy` of what follows the last ``</think>``; 0 without one (`trl.rewards.reasoning_accuracy_reward`)."""

    __name__ = "reasoning_accuracy"
    _reward = staticmethod(reasoning_accuracy_reward)


class ExactNumeric:
    r"""1 where a completion's number equals the reference's, else 0; None where the reference has no number.

    The number of a text is the content of its last ``\boxed{}``, which has to be a number alone (``$``, ``%`` and
    spaces aside), and without any box the last number in it. Numbers are decimal: 1,234.5 and -2e3, no fractions.
    Known failure: without a box the last number need not be the answer.

    Args:
        column: the dataset's column with the reference, text or numbers.
        tolerance: greatest difference that counts as equal.

    Raises (when called):
        ValueError: the dataset has no such column.
    """

    __name__ = "exact_numeric"

    def __init__(self, column: str = "solution", tolerance: float = 1e-6):
        self.column, self.tolerance = column, Decimal(tolerance)

    def __call__(self, completions: Sequence, completion_ids=None, **columns) -> list[float | None]:
        """TRL's reward-function interface."""
        references = [find_number(str(r)) for r in reference_column(columns, self.column, self.__name__)]
        found = [find_number(response_text(completion)) for completion in completions]
        return [
            None if right is None else float(x is not None and abs(x - right) <= self.tolerance)
            for x, right in zip(found, references, strict=True)
        ]


def find_number(text: str) -> Decimal | None:
    """The number that a text gives as its answer, see `ExactNumeric`; None if there is none."""
    text = text.replace("\N{MINUS SIGN}", "-").replace("{,}", ",")
    if has_box(text):
        number = _NUMBER.fullmatch(_DECORATION.sub("", last_boxed(text) or ""))
    else:
        number = None
        for number in _NUMBER.finditer(text):  # noqa: B007 - the last one is wanted
            pass
    return Decimal(number.group().replace(",", "")) if number else None


def as_messages(completions: Sequence) -> list[list[dict]]:
    """Completions as the one assistant message each that TRL's rewards read."""
    return [[{"role": "assistant", "content": response_text(completion)}] for completion in completions]


def reference_column(columns: dict, name: str, reward: str) -> list:
    """The dataset's column of that name, among the columns that a trainer gave to a reward.

    Raises:
        ValueError: there is none; the message names those there are.
    """
    if name not in columns:
        found = sorted(key for key, value in columns.items() if isinstance(value, (list, tuple)) and key != "prompts")
        raise ValueError(
            f"The reward {reward} needs the column {name!r}, but the dataset has {', '.join(found) or 'none'}: rename "
            "the column, or use an instance of your own with column set."
        )
    return columns[name]
