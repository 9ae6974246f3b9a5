r"""The middle size between the demo and a real model: word problems with numbers of several digits, told as stories.

A story starts with a number of things and changes it two to four times; every number that a right solution writes
lies between 10 and 9,999, but for multipliers from 2 to 9. Solutions are one line of arithmetic a step, then the
answer in a ``\boxed{}``. Problems come from a seeded generator without end; a noisy solution has each result wrong
with probability ``ERROR`` and goes on from what it wrote, so that an imitator samples worse than it decodes greedily.
"""

from __future__ import annotations

import json
import operator
import random
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerBase

from rewards.benchmarks.loading import check_columns, load_rows

ERROR = 0.1
SMALLEST, LARGEST = 10, 9_999
PROMPT = "Question: {problem}\nAnswer:"  # the template question-answer of scripts/eval_math.py
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
TEXTS = {"gsm8k_train": ("openai/gsm8k", "main"), "math_train": ("DigitalLearningGmbH/MATH-lighteval", None)}

PEOPLE = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fatima", "George", "Hana", "Ivan", "Julia", "Karim", "Lena")
THINGS = ("apples", "books", "buttons", "candles", "coins", "eggs", "marbles", "pencils", "shells", "stamps")
OPENINGS = ("{who} has {n} {things}.", "There are {n} {things} in {who}'s shop.", "{who} starts with {n} {things}.")
CHANGES = {
    "+": ("{who} buys {n} more.", "{friend} brings {n} more.", "The next day {n} more arrive."),
    "-": ("{who} sells {n} of them.", "{who} gives {n} of them to {friend}.", "Then {n} of them get lost."),
    "*": ("A month later there are {n} times as many.", "By the spring the number is {n} times as large."),
    "packs": ("{who} buys {packs} boxes of {n} {things} each.", "{friend} sends {packs} bags with {n} {things} each."),
}
QUESTIONS = ("How many {things} are there now?", "How many {things} are there in the end?")


@dataclass(frozen=True)
class WordProblem:
    """A story and what it says: the first number, then ``(operator, number, packs)`` of every change; with ``packs``
    above 0 the number is that of each pack."""

    story: str
    start: int
    changes: tuple[tuple[str, int, int], ...]


def draw_problem(rng: random.Random) -> WordProblem:
    """One problem of two to four changes."""
    who, friend = rng.sample(PEOPLE, 2)
    names = {"who": who, "friend": friend, "things": rng.choice(THINGS)}
    start = value = _number(rng)
    story, changes, wanted = [rng.choice(OPENINGS).format(n=start, **names)], [], rng.randint(2, 4)
    while len(changes) < wanted:
        kind = rng.choice(list(CHANGES))
        packs = rng.randint(2, 9) if kind == "packs" else 0
        n = rng.randint(2, 9) if kind == "*" else _number(rng)
        symbol = "+" if packs else kind
        after = OPERATIONS[symbol](value, n * packs if packs else n)
        if SMALLEST <= after <= LARGEST:
            value = after
            changes.append((symbol, n, packs))
            story.append(rng.choice(CHANGES[kind]).format(n=n, packs=packs, **names))
    story.append(rng.choice(QUESTIONS).format(**names))
    return WordProblem(" ".join(story), start, tuple(changes))


def write_solution(problem: WordProblem, error: float = 0.0, rng: random.Random | None = None) -> tuple[str, int]:
    """A solution and the answer it ends with; with ``error`` 0 the right ones.

    Each result has, with probability ``error``, one of its digits replaced by another; later steps go on from it.
    ``ValueError`` if ``error`` needs an ``rng`` and has none.
    """
    if not 0.0 <= error <= 1.0 or (error > 0.0 and rng is None):
        raise ValueError(f"error must lie in [0, 1] and needs an rng when above 0; got error={error}, rng={rng}")
    lines = []

    def compute(a: int, symbol: str, b: int) -> int:
        result = OPERATIONS[symbol](a, b)
        if error > 0.0 and rng.random() < error:
            result = _slip(result, rng)
        lines.append(f"{a} {symbol} {b} = {result}")
        return result

    value = problem.start
    for symbol, n, packs in problem.changes:
        value = compute(value, symbol, compute(packs, "*", n) if packs else n)
    return "\n".join([*lines, rf"The answer is \boxed{{{value}}}."]), value


def write_splits(folder: str | Path, n_train: int, n_heldout: int, seed: int) -> set[str]:
    """Write ``train.jsonl`` and ``heldout.jsonl`` (columns problem, solution, answer; all right, all problems
    different) into ``folder``, made if absent. Returns the held-out stories."""
    folder, rng, problems = Path(folder), random.Random(f"splits {seed}"), {}
    folder.mkdir(parents=True, exist_ok=True)
    while len(problems) < n_train + n_heldout:
        problem = draw_problem(rng)
        problems[problem.story] = problem
    rows = []
    for problem in problems.values():
        solution, answer = write_solution(problem)
        rows.append({"problem": problem.story, "solution": solution, "answer": str(answer)})
    _write_rows(folder / "train.jsonl", rows[:n_train])
    _write_rows(folder / "heldout.jsonl", rows[n_train:])
    return {row["problem"] for row in rows[n_train:]}


def load_texts(
    data: str | Path | None, folder: str | Path, heldout_share: float = 0.05
) -> tuple[list[str], list[str]]:
    """GSM8K's and MATH's training problems with solutions, as the documents of a model's training and of its test.

    Every twentieth row is held out; GSM8K's held-out rows go to ``gsm8k_heldout.jsonl`` in ``folder`` as well.

    Args:
        data: folder with ``gsm8k_train`` and ``math_train`` as .jsonl or .jsonl.gz; None: from the hub.
        folder: where the held-out problems go, made if absent.
        heldout_share: about so much of each is held out.

    Raises:
        FileNotFoundError: ``data`` lacks one of the files.
        ValueError: columns that are absent.
    """
    train, heldout, every = [], [], round(1 / heldout_share)
    for name, (hub, config) in TEXTS.items():
        place = hub
        if data is not None:
            found = sorted(Path(data).glob(f"{name}.jsonl*"))
            if not found:
                raise FileNotFoundError(f"{data} has no {name}.jsonl or {name}.jsonl.gz: add it, or leave --data out")
            place = str(found[0])
        rows, _ = load_rows(place, "train", config)
        if name == "gsm8k_train" and "question" in rows[0]:  # the hub's names; its answer is the whole solution
            check_columns(rows, ["question", "answer"], place)
            rows = [{"problem": row["question"], "solution": row["answer"]} for row in rows]
        check_columns(rows, ["problem", "solution"], place)
        documents = [document(row["problem"], _boxed_like_math(row["solution"])) for row in rows]
        train += [text for i, text in enumerate(documents) if i % every]
        heldout += documents[::every]
        if name == "gsm8k_train":
            rows = [{"problem": r["problem"], "answer": r["solution"].rsplit("####", 1)[-1].strip()} for r in rows]
            Path(folder).mkdir(parents=True, exist_ok=True)
            _write_rows(Path(folder) / "gsm8k_heldout.jsonl", rows[::every])
    return train, heldout


def document(problem: str, solution: str) -> str:
    """What the model reads of a problem and its solution."""
    return f"{PROMPT.format(problem=problem)} {solution}"


def noisy_document(rng: random.Random, error: float, exclude: Container[str] = ()) -> str:
    """A fresh problem whose story is not in ``exclude``, as a prompt and a noisy solution."""
    while (problem := draw_problem(rng)).story in exclude:
        pass
    return document(problem.story, write_solution(problem, error, rng)[0])


class PackedRows(IterableDataset):
    """Token ids ``[length]`` without end: documents joined by end tokens and cut into rows; int64.

    A document is a fresh noisy word problem with probability ``synthetic``, else one of ``texts``. Each worker of a
    DataLoader has a stream of its own, fixed by ``seed``; stories in ``exclude`` never occur. ``ValueError`` where a
    share of ``texts`` is wanted and there are none.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        exclude: Container[str],
        *,
        length: int = 512,
        synthetic: float = 0.85,
        error: float = ERROR,
        seed: int = 0,
    ):
        if synthetic < 1.0 and not texts:
            raise ValueError(f"synthetic is {synthetic} and there are no other texts: give some, or set it to 1")
        self.tokenizer, self.texts, self.exclude = tokenizer, texts, exclude
        self.length, self.synthetic, self.error, self.seed = length, synthetic, error, seed

    def documents(self, rng: random.Random) -> Iterator[str]:
        while True:
            if rng.random() < self.synthetic:
                yield noisy_document(rng, self.error, self.exclude)
            else:
                yield rng.choice(self.texts)

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        documents = self.documents(random.Random(f"{self.seed} {worker.id if worker else 0}"))
        tokens: list[int] = []
        while True:
            batch = [next(documents) + self.tokenizer.eos_token for _ in range(64)]
            tokens += [token for ids in self.tokenizer(batch)["input_ids"] for token in ids]
            n = len(tokens) // self.length * self.length
            yield from torch.tensor(tokens[:n]).view(-1, self.length)
            tokens = tokens[n:]


def _number(rng: random.Random) -> int:
    """Two, three or four digits, alike in probability."""
    digits = rng.randint(2, 4)
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _slip(value: int, rng: random.Random) -> int:
    """``value`` with one digit replaced by another; the first one of several does not become 0."""
    sign, digits = "-" * (value < 0), list(str(abs(value)))
    place = rng.randrange(len(digits))
    others = [d for d in "0123456789" if d != digits[place] and (d != "0" or place or len(digits) == 1)]
    digits[place] = rng.choice(others)
    return int(sign + "".join(digits))


def _boxed_like_math(solution: str) -> str:
    r"""GSM8K's solution without its calculator marks, and with its answer in a ``\boxed{}``; others as they are."""
    solution = re.sub(r"<<[^>]*>>", "", solution)
    return re.sub(r"#### *(.+)\s*$", lambda found: rf"The answer is \boxed{{{found[1].strip()}}}.", solution)


def _write_rows(path: Path, rows: Sequence[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
