"""A task with short answers for a real chat model: one-step word problems with whole numbers.

A problem is a story with two numbers put into it; the answer is their sum or product (where asked for, difference or
quotient), and never one of the two, so that who repeats the question is wrong. Sums and products are the default since
a policy sharpens only what its base does now and then, and SmolLM2-135M-Instruct hardly ever subtracts or divides
well. Held-out problems tell other stories with other pairs of numbers than those of training. A row of the files holds
a chat of one problem and the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from rewards.frozen.encoding import response_text

STORIES = {
    "+": (
        "{name} has {a} marbles and finds {b} more. How many marbles does {name} have now?",
        "{name} has {a} apples and buys {b} more apples. How many apples does {name} have in total?",
        "There are {a} cats and {b} dogs in a shelter. How many animals are there in total?",
        "A class has {a} boys and {b} girls. How many students are in the class?",
        "{name} read {a} pages on Monday and {b} pages on Tuesday. How many pages did {name} read in total?",
        "A shop sold {a} lamps in May and {b} lamps in June. How many lamps did it sell in total?",
        "{name} has {a} red balloons and {b} blue balloons. How many balloons does {name} have in total?",
        "{name} scored {a} points in one game and {b} points in another. How many points is that in total?",
        "{name} saved {a} dollars last week and {b} dollars this week. How many dollars did {name} save in total?",
        "There are {a} birds on a tree, and {b} more birds join them. How many birds are on the tree now?",
        "A baker made {a} cakes yesterday and {b} cakes today. How many cakes did the baker make in total?",
        "A bus carries {a} people, and {b} more people get on. How many people are on the bus now?",
    ),
    "-": (
        "{name} has {a} stickers and gives {b} of them away. How many stickers does {name} have left?",
        "A baker made {a} buns and sold {b} of them. How many buns are left?",
        "There were {a} birds on a roof, and {b} flew off. How many birds stayed?",
        "A ribbon is {a} cm long, and {name} cuts off {b} cm. How many cm remain?",
        "A tank held {a} litres of water, and {b} litres ran out. How many litres are in it now?",
        "{name} wants to save {a} coins and has {b}. How many coins does {name} still need?",
        "Of {a} seats in a hall, {b} are taken. How many seats are free?",
        "A book has {a} pages, and {name} has read {b}. How many pages are still to read?",
        "{name} picked {a} plums and ate {b} of them. How many plums remain?",
        "A garage had {a} cars in it before {b} drove away. How many cars does it have now?",
    ),
    "*": (
        "There are {a} boxes with {b} pencils in each box. How many pencils are there in total?",
        "{name} buys {a} bags, and each bag has {b} candies. How many candies does {name} have?",
        "A garden has {a} rows, and each row has {b} flowers. How many flowers are in the garden?",
        "Each of {a} teams has {b} players. How many players are there?",
        "{name} runs {a} miles every day. How many miles does {name} run in {b} days?",
        "A book costs {a} dollars. How many dollars do {b} books cost?",
        "A hotel has {a} floors with {b} rooms on each floor. How many rooms does the hotel have?",
        "There are {a} tables, and each table has {b} chairs. How many chairs are there in total?",
        "A train has {a} wagons with {b} passengers in each wagon. How many passengers are on the train?",
        "{name} earns {a} dollars every hour. How many dollars does {name} earn in {b} hours?",
        "A farmer has {a} hens, and each hen lays {b} eggs. How many eggs are there in total?",
        "{name} fills {a} shelves with {b} books on each shelf. How many books are on the shelves?",
    ),
    "/": (
        "{name} shares {a} sweets equally among {b} friends. How many sweets does each friend get?",
        "A teacher puts {a} pupils into {b} equal groups. How many pupils are in a group?",
        "A gardener plants {a} roses in {b} equal rows. How many roses are in a row?",
        "{name} cuts a rope of {a} metres into {b} equal pieces. How many metres long is a piece?",
        "A cook pours {a} cups of soup into {b} equal pots. How many cups does a pot get?",
        "A van carries {b} crates at a time. How many trips does it need for {a} crates?",
        "{name} reads {b} pages a day. How many days does {name} need for {a} pages?",
        "A roll of {a} stamps is divided equally between {b} offices. How many stamps does an office get?",
        "Tables for {b} people each stand in a hall with {a} chairs. How many tables are there?",
        "{name} packs {a} eggs into cartons of {b}. How many cartons does {name} fill?",
    ),
}
NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Leo")
# Thousands in groups of three or plain digits, a fraction; units may follow at once, other letters may not.
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![,.]?\d)(?:(?!\w)|(?=(?:[ck]?m|k?g|l)\b))"
)
_MARK = re.compile(rf"(?:####|\banswer(?: is)?\s*:?)\s*(?:\\boxed\{{)?\s*(?P<number>{_NUMBER.pattern})")
_OPERATOR = r"(?:[-+*/×÷^]|(?<![a-z])x(?![a-z]))"
# What spoils a number, by the text of its sentence before it and by all that follows it.
_SPOILT_BEFORE = re.compile(
    rf"\d(?:\s*[a-z]+)?\)?\s*{_OPERATOR}\s*$"  # a term of a calculation
    r"|\d\s*(?:,|and|to|-)\s*$|\bor\b[^=]{0,40}$"  # one of a list or range
    r"|(?:\b(?:not|never|no|cannot)\b|n['’]t\b)[^,;:=]{0,60}$"  # denied
)
_SPOILT_AFTER = re.compile(
    rf"\s*(?:%|{_OPERATOR}\s*\(?\d|=\s*\S|(?:,|and|to)\s*\d)|[^.\n=]{{0,40}}(?:\bor\b|\?)"
    r"|[^.\n]{0,20}\b(?:is|was)(?: not|n['’]t| wrong| incorrect| false)\b"
    r"|(?s:.*)[.!?\n]\s*(?:no|not|actually|wait|sorry|or|correction|oops)\b"  # taken back
)


def pairs_of(operation: str) -> list[tuple[int, int]]:
    """The pairs of numbers that a story of ``+``, ``-``, ``*`` or ``/`` may hold, none of them equal to the answer."""
    if operation == "+":
        pairs = [(a, b) for a in range(2, 21) for b in range(2, 13)]
    elif operation == "-":
        pairs = [(a, b) for a in range(5, 31) for b in range(2, a - 1)]
    else:
        pairs = [(a, b) for a in range(2, 11) for b in range(2, 11)]
        pairs = [(a * b, b) for a, b in pairs] if operation == "/" else pairs
    return [pair for pair in pairs if solve(operation, *pair) not in pair]


def solve(operation: str, a: int, b: int) -> int:
    """``a + b``, ``a - b``, ``a * b`` or ``a / b``, which is whole for the pairs of this task."""
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[operation]


def answer_of(response: str) -> str | None:
    """The number that ``response`` gives as its result, as digits (``"12"``, ``"-3"``, ``"0.5"``); None without one.

    It is the number after ``####`` or ``answer is``, where several of these have to agree, and without them the last
    number. It is none in a list or a range (``12 or 13``, ``12, 13``, ``10-12``), in a question, if it is denied or
    taken back, or as a term of a calculation (``5 + 12``). Units, currency, ``12.0`` and ``1,200`` do not matter;
    ``12%``, ``12th`` and ``1/2`` are other things than 12 and 2, and numbers in words do not count.
    """
    text = re.sub(r"[$`]|\*\*", "", response.replace("\N{MINUS SIGN}", "-")).casefold()
    marked = list(_MARK.finditer(text))
    spans = [match.span("number") for match in marked] or [match.span() for match in _NUMBER.finditer(text)]
    if not spans or (marked and len({_digits(text[start:end]) for start, end in spans}) > 1):
        return None
    start, end = spans[-1]
    sentence = re.split(r"[!?\n]|\.(?!\d)", text[:start])[-1]
    if _SPOILT_BEFORE.search(sentence) or _SPOILT_AFTER.match(text[end:]):
        return None
    return _digits(text[start:end])


def _digits(number: str) -> str:
    return f"{Decimal(number.replace(',', '')).normalize():f}"


def word_problem_accuracy(completions: Sequence, answer: Sequence[str], **kwargs) -> list[float]:
    """TRL reward function: 1.0 where :func:`answer_of` a completion is the row's ``answer``, else 0.0."""
    return [float(answer_of(response_text(c)) == a) for c, a in zip(completions, answer, strict=True)]


def split_stories(seed: int = 0, heldout_share: float = 0.3) -> dict[str, tuple[list[str], list[str]]]:
    """Operation -> its stories for training and for evaluation, fixed by the seed; at least one on each side."""
    rng = np.random.default_rng(seed)
    split = {}
    for operation, stories in STORIES.items():
        order = [stories[i] for i in rng.permutation(len(stories))]
        cut = min(max(1, round(heldout_share * len(stories))), len(stories) - 1)
        split[operation] = (order[cut:], order[:cut])
    return split


def draw_problems(
    n_train: int = 600, n_heldout: int = 160, seed: int = 0, operations: str = "+*", heldout_share: float = 0.3
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Problems for training and for evaluation, all distinct, as many for each of ``operations``, fixed by the seed.

    No story and no pair of numbers, in either order and for any operation, is on both sides.

    Returns:
        Two lists of ``{"question": ..., "answer": ...}``, in random order.

    Raises:
        ValueError: there are not as many distinct problems, or an operation is none of ``+-*/``.
    """
    if not operations or len(set(operations)) < len(operations) or not set(operations) <= set(STORIES):
        raise ValueError(f"operations is {operations!r}; name one or several of {''.join(STORIES)}, each once")
    rng = np.random.default_rng(seed)
    pairs = sorted({tuple(sorted(pair)) for operation in operations for pair in pairs_of(operation)})
    heldout_pairs = {pairs[i] for i in rng.permutation(len(pairs))[: round(heldout_share * len(pairs))]}
    stories = split_stories(seed, heldout_share)
    drawn: tuple[list[dict[str, str]], list[dict[str, str]]] = ([], [])
    for side, n in enumerate((n_train, n_heldout)):
        for place, operation in enumerate(operations):
            told = stories[operation][side]
            own = [pair for pair in pairs_of(operation) if (tuple(sorted(pair)) in heldout_pairs) == bool(side)]
            wanted = n // len(operations) + (place < n % len(operations))
            there = len(told) * len(own)  # a story with a pair is a problem once; another name in it makes no other
            if wanted > there:
                raise ValueError(f"{wanted} problems of {operation} were asked for, but there are {there}: take fewer")
            for number in rng.choice(there, size=wanted, replace=False):
                story, (a, b) = told[number % len(told)], own[number // len(told)]
                question = story.format(a=a, b=b, name=NAMES[rng.integers(len(NAMES))])
                drawn[side].append({"question": question, "answer": str(solve(operation, a, b))})
    return tuple([part[i] for i in rng.permutation(len(part))] for part in drawn)  # type: ignore[return-value]


def write_splits(
    data_dir: str | Path,
    n_train: int = 600,
    n_heldout: int = 160,
    seed: int = 0,
    operations: str = "+*",
    system_prompt: str | None = None,
) -> tuple[Path, Path]:
    """Write ``train.jsonl`` and ``heldout.jsonl`` into ``data_dir``, made if absent, and return their paths.

    A row has ``prompt``, a chat of the problem (after ``system_prompt``, if there is one; without it a chat template
    may put its own), and ``answer``, its digits.
    """
    folder = Path(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    paths = []
    for name, problems in zip(("train", "heldout"), draw_problems(n_train, n_heldout, seed, operations), strict=True):
        rows = [
            {"prompt": [*system, {"role": "user", "content": problem["question"]}], "answer": problem["answer"]}
            for problem in problems
        ]
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths[0], paths[1]
