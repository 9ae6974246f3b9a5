"""The tasks for a real chat model by name: their files, how an answer is read, and rewards that need it.

A task's rows are ``{"prompt": chat that ends in the question, "answer": text}``. An answer is read from a response by
the task's own strict reader; two responses agree where it reads the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewards.frozen.encoding import response_text
from rewards.groups import score_groups
from train.tasks import capitals, word_problems


@dataclass(frozen=True)
class ChatTask:
    """A task with short answers.

    Attributes:
        write_splits: makes `train.jsonl` and `heldout.jsonl` in a folder.
        answer_of: (question, response) -> the answer that the response gives, None without one.
        accuracy: dotted path of the reward that is 1 for a right response, for logging or as a label.
        majority: dotted path of the reward that is 1 for the answer of most responses to the same question.
        max_tokens: of a response, enough for the base's usual answer.
        format: regular expression of a response that looks like an answer, right or wrong: one sentence that ends.
    """

    write_splits: Callable[..., tuple[Path, Path]]
    answer_of: Callable[[str, str], str | None]
    accuracy: str
    majority: str
    max_tokens: int
    format: str = r"^[A-Z][^.!?\n]{2,150}\.$"

    def is_correct(self, row: Mapping, response: str) -> bool:
        """Whether a response gives the row's answer."""
        return self.answer_of(question_of(row["prompt"]), response) == row["answer"]


def question_of(prompt: str | list[dict]) -> str:
    """The question of a prompt: the text, or that of a chat's last message."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def read_rows(path: Path, n: int | None = None) -> list[dict]:
    """The first `n` rows of a task's file, all of them without a number."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines][:n]


def majority_answer(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer, the first of equally frequent ones; None where nobody gives one."""
    votes = Counter(answer for answer in answers if answer is not None)
    return max(votes, key=votes.__getitem__, default=None)


def vote(answers: Sequence[str | None]) -> list[float]:
    """1 for each answer that is the most frequent of its group, else 0."""
    winner = majority_answer(answers)
    return [float(winner is not None and answer == winner) for answer in answers]


def _majority(task: str, prompts: Sequence, completions: Sequence) -> list[float]:
    answer_of = TASKS[task].answer_of
    answers = [answer_of(question_of(p), response_text(c)) for p, c in zip(prompts, completions, strict=True)]
    return score_groups(prompts, answers, vote)


def capital_majority(prompts: Sequence, completions: Sequence, **columns) -> list[float]:
    """TRL reward function: 1.0 for the capital that most responses to the question claim (arXiv 2504.16084), else
    0.0. Every process has to take part."""
    return _majority("capitals", prompts, completions)


def word_problem_majority(prompts: Sequence, completions: Sequence, **columns) -> list[float]:
    """As :func:`capital_majority`, for the number that most responses give."""
    return _majority("word_problems", prompts, completions)


TASKS = {
    "capitals": ChatTask(
        capitals.write_splits,
        capitals.answer_of,
        "train.tasks.capitals.capital_accuracy",
        "train.tasks.chat_tasks.capital_majority",
        max_tokens=24,
    ),
    "word_problems": ChatTask(
        word_problems.write_splits,
        lambda question, response: word_problems.answer_of(response),
        "train.tasks.word_problems.word_problem_accuracy",
        "train.tasks.chat_tasks.word_problem_majority",
        max_tokens=64,
    ),
}
