"""The one reader of problems: rows of any collection as what the model is shown and the answers that are right.

Training (`train/prompts.py`) and evaluation (`train/evaluation/problems.py`) both call `read_problems`, so the same
row gives the same problem and the same answers in both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rewards.reading.table import Table
from train.problems.answers import right_answers
from train.problems.choices import ChoiceError, Choices, read_choices, with_right
from train.problems.columns import MESSAGES, Columns, Picked, pick, plain, unshown
from train.problems.messages import MessageError, are_messages, asked, read_messages, without_reply

_PLACEHOLDER = re.compile(r"\bN_(\d\d)\b")  # MAWPS, whose numbers stand in a column of their own


@dataclass
class Item:
    """One row.

    `problem` is the text that the model is shown, choices included. `prompt` is a ready prompt, text or messages, and
    None where one has to be made of the problem. `golds` are right answers, each of which counts. `left_out` says why
    the row cannot be used ("" if it can): "empty_prompt" or "no_answer". `single` says why the prompt is more than the
    problem ("" if it is not).
    """

    problem: str
    golds: tuple[str, ...]
    prompt: str | list[dict] | None = None
    solution: str | None = None
    left_out: str = ""
    single: str = ""


@dataclass
class Reading:
    """All rows of a table. `notes` say what was guessed or is not shown, `said` what was read from where. `answered`
    says whether there is anything that answers could come from."""

    items: list[Item]
    picked: Picked
    notes: list[str]
    said: str
    answered: bool


def read_problems(table: Table, columns: Columns | None = None) -> Reading:
    """Problems and right answers of all rows, in their order.

    Raises:
        ValueError: columns that are not there or cannot be read; the message says what was looked for, what is there
            and the flag.
    """
    picked = pick(table, columns or Columns())
    notes = [*table.notes, *unshown(table, picked)]
    items = _asked(table, picked, notes)
    choices = _choices(table, picked, items, notes)
    solutions = _solutions(table, picked, items)
    answers = right_answers(table, picked, solutions, choices, (columns or Columns()).answer_kind, notes)
    for item, found, solution, answer in zip(items, choices, solutions, answers):
        if found and item.prompt is None:
            item.problem = found.shown(item.problem)
        item.solution, item.golds = solution, answer
    # replies of a conversation are answers only where some of them mark one
    answered = bool(picked.answer or picked.right or picked.solution or any(answers))
    for item in items:
        chat = isinstance(item.prompt, list) and bool(item.prompt)
        empty = not (item.problem.strip() or (chat and item.single))
        item.left_out = "empty_prompt" if empty else "no_answer" if answered and not item.golds else ""
    return Reading(items, picked, notes, picked.describe(table.name, table.columns), answered)


def _asked(table: Table, picked: Picked, notes: list[str]) -> list[Item]:
    if picked.prompt:
        return _ready(table, picked, notes)
    column = picked.problem or ""
    problems = _texts(table, column, "--problem_column")
    numbers = next((name for name in table.columns if plain(name) == "numbers"), None)
    if numbers and any(_PLACEHOLDER.search(problem) for problem in problems):
        problems = [_fill(p, str(values or "").split()) for p, values in zip(problems, table.column(numbers))]
        notes.append(f"{table.name}: N_00, N_01, ... in column {column} are filled in from column {numbers}")
    if picked.context:
        contexts = _texts(table, picked.context, "--context_column")
        problems = [_with_context(c.strip(), p, plain(picked.context)) for c, p in zip(contexts, problems)]
    return [Item(problem, ()) for problem in problems]


def _with_context(context: str, problem: str, column: str) -> str:
    """A problem with the text that it is about: above it, but below an instruction what that is to be applied to."""
    if not (context and problem.strip()):
        return problem
    if column == "input":
        return f"{problem}\n\n{context}"
    return f"{context} {problem}" if column == "body" else f"{context}\n\n{problem}"


def _ready(table: Table, picked: Picked, notes: list[str]) -> list[Item]:
    """Prompts that are used as they stand."""
    column = picked.prompt or ""
    values = table.column(column)
    systems = table.column(picked.system) if picked.system else [None] * len(values)
    first = next((value for value in values if value), "")
    text = isinstance(first, str) and not are_messages(first)
    turned = plain(column) in MESSAGES
    items = []
    for number, (value, system) in enumerate(zip(values, systems), 1):
        if value is None or (not value and not text):
            items.append(Item("", (), prompt="" if text else []))
        elif text and isinstance(value, str) and not are_messages(value):
            items.append(Item(value, (), prompt=value))
        else:
            try:
                messages = read_messages(None if text else value)
            except MessageError as error:
                raise ValueError(
                    f"{table.name}, row {number}: column {column!r} must hold only texts or only lists of messages "
                    f"with 'role' and 'content'; found {str(value)[:200]}. Set --prompt_column '' to build prompts "
                    "from the problem column instead"
                ) from error
            messages, reply = without_reply(messages) if turned else (messages, None)
            if system and messages and messages[0]["role"] != "system":
                messages = [{"role": "system", "content": str(system)}, *messages]
            problem, single = asked(messages)
            items.append(Item(problem, (), prompt=messages, solution=reply, single=single))
    return items


def _choices(table: Table, picked: Picked, items: list[Item], notes: list[str]) -> list[Choices | None]:
    names = ", ".join(picked.choices)
    if not picked.choices:
        return [None] * len(items)
    found, broken = [], []
    cells = zip(*(table.column(name) for name in picked.choices))
    rights = table.column(picked.right) if picked.right else [None] * len(items)
    for number, (item, row, right) in enumerate(zip(items, cells, rights), 1):
        try:
            made = with_right(right, row, item.problem) if picked.right else read_choices(row, picked.choices)
        except ChoiceError as error:
            made = None
            broken.append(f"row {number} holds {error}")
            item.problem = ""
        found.append(made)
    if len(broken) == len(items):
        raise ValueError(
            f"{table.name}: column {names} cannot be read as choices: {broken[0]}. Name another --choices_column, or "
            "'' to leave them out"
        )
    if broken:
        notes.append(f"{table.name}: {len(broken)} rows with unreadable choices are left out: {broken[0]}")
    ready = sum(bool(made) and item.prompt is not None for made, item in zip(found, items))
    hidden = ready and any(
        made and not all(text in item.problem for text in made.texts) for made, item in zip(found, items)
    )
    if hidden:
        notes.append(
            f"{table.name}: column {names} is not shown to the model ({ready} rows have one), since prompts are used "
            "as they stand: --prompt_column '' --problem_column NAME"
        )
    if picked.right:
        notes.append(f"{table.name}: choices are put in an order that depends on the question's text alone")
    return found


def _solutions(table: Table, picked: Picked, items: list[Item]) -> list[str | None]:
    """Worked solutions as text; several of one problem one below the other."""
    if not picked.solution:
        return [item.solution for item in items]
    values = table.column(picked.solution)
    return [
        None if v is None else "\n\n".join(_listed_texts(v, table, picked.solution, n))
        for n, v in enumerate(values, 1)
    ]


def _listed_texts(value: Any, table: Table, column: str, number: int) -> list[str]:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, (str, int, float)) for item in items if item is not None):
        raise ValueError(
            f"{table.name}, row {number}: column {column!r} must hold text, not {str(value)[:200]}: name another "
            "--solution_column, or '' for none"
        )
    return [str(item) for item in items if item is not None]


def _texts(table: Table, column: str, flag: str) -> list[str]:
    """A column as text; numbers by their digits.

    Raises:
        ValueError: a cell is neither; the message names row and fields.
    """
    texts = []
    for number, value in enumerate(table.column(column), 1):
        if value is not None and not isinstance(value, (str, int, float)):
            fields = f"; name a field of it: {flag} {column}.{next(iter(value))}" if isinstance(value, dict) else ""
            raise ValueError(
                f"{table.name}, row {number}: column {column!r} must hold text or numbers, not "
                f"{type(value).__name__}: {str(value)[:200]}{fields or f'; name another {flag}'}"
            )
        texts.append("" if value is None else str(value))
    return texts


def _fill(problem: str, numbers: list[str]) -> str:
    return _PLACEHOLDER.sub(lambda m: numbers[int(m[1])] if int(m[1]) < len(numbers) else m[0], problem)
