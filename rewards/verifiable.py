r"""Verifiable rewards: rules that check a response, alone or against the right answer. All are 0 or 1, without units.

`accuracy` and `reasoning_accuracy` use the one grader of `rewards.answers`, as evaluation does. Known failure of all
format rules: they are learnt in a few steps, and then say nothing of the answer.

In a recipe a name stands for the default settings. Others are given by the dotted path to an instance of one's own,
such as `my_package.my_rewards.gsm8k` with `gsm8k = ExactNumeric(column="answer")` in that module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from trl.rewards import think_format_reward

from rewards.answers import final_answer, gold_answers, has_box, is_right, last_boxed
from rewards.frozen.encoding import encode_prompt, response_text
from rewards.frozen.messages import Rendering

_PROMPT_END = 16  # tokens at the end of a prompt, among which "<think>" is looked for

# Thousands in groups of three or plain digits, a fraction, an exponent that cannot overflow; a minus after a digit,
# letter or bracket is a subtraction.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])[-+])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?!\d))?"
)
_DECORATION = re.compile(r"\\[,!;: ]|\\?[$%]|\s")


def boxed(completions: Sequence, completion_ids=None, **columns) -> list[float]:
    r"""1 where the last ``\boxed{}`` of a completion is closed and not empty, else 0."""
    return [float(bool(last_boxed(response_text(completion)))) for completion in completions]


class ThinkFormat:
    """1 where a completion is ``<think>...</think>`` and an answer, else 0 (`trl.rewards.think_format_reward`).

    Where the prompt has opened ``<think>`` already, as some chat templates do, the completion begins inside it and has
    to close it. Known failure: it is learnt in a few steps, and says nothing of the answer.

    Args:
        opened: whether the prompt opens ``<think>``; None looks at its end. Of chat messages that is seen only through
            the template of a tokenizer, without which it is taken to open none (an assistant message that begins the
            response counts).
        tokenizer: the policy's; this project's trainers lend it.
    """

    __name__ = "think_format"

    def __init__(self, opened: bool | None = None, tokenizer=None):
        self.opened, self.tokenizer = opened, tokenizer

    def __call__(
        self,
        completions: Sequence,
        prompts: Sequence | None = None,
        completion_ids=None,
        rendering: Sequence[Rendering] | None = None,
        **columns,
    ):
        """TRL's reward-function interface: one of 0.0 and 1.0 a completion. The column `rendering`, which this
        project's trainers add, says how each prompt was rendered: a template may open ``<think>`` in some settings."""
        texts = [response_text(completion) for completion in completions]
        if self.opened is not None or prompts is None:
            opened = [bool(self.opened)] * len(texts)
        else:
            renderings: Sequence[Rendering] = rendering or [{}] * len(prompts)
            opened = [self._opens(prompt, how) for prompt, how in zip(prompts, renderings, strict=True)]
        whole = ["<think>" * inside + text for text, inside in zip(texts, opened, strict=True)]
        return think_format_reward(as_messages(whole))

    def _opens(self, prompt: str | list[dict], rendering: Rendering) -> bool:
        if isinstance(prompt, str):
            end = prompt
        elif self.tokenizer is not None and self.tokenizer.chat_template is not None:
            end = self.tokenizer.decode(encode_prompt(self.tokenizer, prompt, **rendering)[-_PROMPT_END:])
        else:
            end = response_text(prompt[-1:]) if prompt and prompt[-1]["role"] == "assistant" else ""
        return end.rstrip().endswith("<think>")


class Accuracy:
    """1 where a completion's answer is the reference's, else 0; None where the reference has no answer.

    What an answer is and which are equal is said in `rewards.answers`. It keeps no clock and works in any thread.

    Args:
        column: the dataset's column with the reference: a worked solution, an answer alone, or a list of answers that
            count alike.
        tolerance: where one of two numbers is a decimal, the largest relative difference that counts as equal.

    Raises (when called):
        ValueError: the dataset has no such column.
    """

    __name__ = "accuracy"

    def __init__(self, column: str = "solution", tolerance: float = 0.0):
        self.column, self.tolerance = column, tolerance

    def __call__(self, completions: Sequence, completion_ids=None, log_extra=None, **columns) -> list[float | None]:
        """TRL's reward-function interface. `log_extra` is given the gold answers and the completions' answers."""
        golds = [gold_answers(r) for r in reference_column(columns, self.column, self.__name__)]
        found = [self.answer(response_text(completion)) for completion in completions]
        if log_extra is not None:
            log_extra("gold", ["; ".join(gold) for gold in golds])
            log_extra("answer", [answer or "" for answer in found])
        return [
            float(is_right(answer, gold, self.tolerance)) if gold else None
            for answer, gold in zip(found, golds, strict=True)
        ]

    def answer(self, text: str) -> str | None:
        """The answer of a completion's text, None without one."""
        return final_answer(text)


class ReasoningAccuracy(Accuracy):
    """`Accuracy` of what follows the last ``</think>``; 0 without one, as `trl.rewards.reasoning_accuracy_reward`."""

    __name__ = "reasoning_accuracy"

    def answer(self, text: str) -> str | None:
        """The answer after the reasoning, None where that never ends."""
        reasoning, closed, rest = text.rpartition("</think>")
        return final_answer(rest) if closed else None


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
