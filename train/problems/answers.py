"""Right answers of a table's rows: from the answer column, among choices, or at the end of worked solutions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from numbers import Real
from typing import Any

from rewards.reading.table import Table
from train.problems.choices import Choices, choose_kind
from train.problems.columns import ANSWER, SOLUTION, Picked, plain
from train.problems.golds import AnswerError, final_answer, golds, is_explanation, is_whole

_BARE = 60  # characters: a column of solutions that are all shorter and have no box holds answers


def right_answers(
    table: Table,
    picked: Picked,
    solutions: list[str | None],
    choices: list[Choices | None],
    kind: str | None,
    notes: list[str],
) -> list[tuple[str, ...]]:
    """The right answers of each row, each of which counts; () where there is none.

    Args:
        solutions, choices: of each row.
        kind: how answers name choices, None: what fits.
        notes: what is decided is added to these.

    Raises:
        ValueError: a column that holds no final answers; the message names row and flag.
    """
    values = table.column(picked.answer) if picked.answer else [None] * len(solutions)
    column, whole = picked.answer or "", is_whole(values)
    told: Counter = Counter()
    worked, letters = plain(column) in SOLUTION, _letters(values, choices, column, kind, notes, table.name)
    found = []
    for number, (value, letter, made) in enumerate(zip(values, letters, choices), 1):
        try:
            found.append((letter,) * bool(letter) if made else golds(value, whole, worked, told))
        except AnswerError as error:
            raise ValueError(
                f"{table.name}, row {number}: column {column!r} must hold text, numbers or lists of them, and holds "
                f"{error}. Name another --answer_column (a field of it by a dot, {column}.FIELD), or '' for none"
            ) from error
    _check_explanations(table.name, column, found, told)
    bare = _bare(picked, solutions)
    for number, (answer, solution, made) in enumerate(zip(found, solutions, choices)):
        if not answer and solution is not None and not made:
            found[number] = golds(solution, worked=not bare)
            told["solution"] += bool(picked.answer) and bool(found[number])
    _tell(table.name, picked, values, found, told, whole, bare, notes)
    return found


def missing_answers(table: Table, picked: Picked) -> str:
    """What to say where nothing holds an answer: what was looked for, what is there, and which column might do."""
    texts = [name for name in table.columns if name not in picked.read]
    ends = {
        name: sum(isinstance(v, str) and final_answer(v) is not None for v in table.column(name)[:100])
        for name in texts
    }
    hint = next((name for name, count in ends.items() if count), "NAME")
    return (
        f"{table.name} has no column of answers ({', '.join((*ANSWER, *SOLUTION))}); columns found: "
        f"{', '.join(table.columns)}. Name the right one, for example --answer_column {hint}"
    )


def _letters(
    values: list, choices: list[Choices | None], column: str, kind: str | None, notes: list[str], name: str
) -> list[str]:
    """The letter of the right choice of each row, "" where it has no choices or no answer among them."""
    given = [_one(value) for value in values]
    found = [made.positions(value) if made and value is not None else {} for made, value in zip(choices, given)]
    asked_for = [i for i, (made, value) in enumerate(zip(choices, given)) if made and value is not None]
    if asked_for:
        if kind is None:
            numbers = not any(isinstance(given[i], str) for i in asked_for)
            kind, note = choose_kind([found[i] for i in asked_for], numbers, column)
            notes += [f"{name}: {note}"] if note else []
        odd = [i for i in asked_for if kind not in found[i]]
        if odd:
            notes.append(
                f"{name}: {len(odd)} rows whose answer is none of their choices are left out, such as "
                f"{str(given[odd[0]])[:60]!r} in row {odd[0] + 1}"
            )
    rights = [
        made.right if made and made.right is not None else row.get(kind or "") for made, row in zip(choices, found)
    ]
    return ["" if right is None else chr(ord("A") + right) for right in rights]


def _one(value: Any) -> Any:
    """An answer to a question with choices: the only item of a list; several are none of the choices."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else ", ".join(map(str, value)) or None
    return None if value is None or (isinstance(value, Real) and value != value) or value == "" else value


def _check_explanations(name: str, column: str, found: list[tuple[str, ...]], told: Counter) -> None:
    filled = [n for n, answer in enumerate(found) if answer]
    long = [n for n in filled if any(is_explanation(answer) for answer in found[n])]
    if 2 * len(long) > len(filled):
        raise ValueError(
            f"{name}: column {column} holds explanations and not final answers in {len(long)} of {len(filled)} rows, "
            f"such as {found[long[0]][0][:100]!r}: name another --answer_column, or '' for none"
        )
    for n in long:
        found[n] = ()
    told["explanations"] = len(long)


def _bare(picked: Picked, solutions: list[str | None]) -> bool:
    """Whether the solutions are answers alone: all are short, and none ends in a marked answer."""
    texts = [solution.strip() for solution in solutions if solution]
    short = all(len(text) <= _BARE and "\n" not in text and "\\boxed" not in text for text in texts)
    alone = picked.solution and not (picked.answer or picked.right)
    return bool(texts and alone and short) and not any(map(final_answer, texts))


def _tell(
    name: str,
    picked: Picked,
    values: list,
    found: list[tuple[str, ...]],
    told: Counter,
    whole: bool,
    bare: bool,
    notes: list[str],
) -> None:
    column = picked.answer
    said: list[tuple[int, Callable[[int], str]]] = [
        (told["none"], lambda n: f'{n} answers in column {column} that say "proof" or "notfound" are taken for none'),
        (told["unit"], lambda n: f"units in brackets are left out of {n} answers in column {column}"),
        (told["explanations"], lambda n: f"{n} explanations in column {column} are taken for no answer"),
        (
            told["solution"],
            lambda n: f"{n} answers that column {column} lacks are taken from {picked.solution or picked.prompt}",
        ),
        (
            sum(isinstance(v, bool) for v in values),
            lambda n: f"{n} truth values in column {column} are read as the answers True and False",
        ),
        (
            whole * sum(isinstance(v, float) and v == v for v in values),
            lambda n: f"{n} numbers in column {column} are written without their .0, since all of them are whole",
        ),
        (
            bare * sum(map(bool, found)),
            lambda n: f"{n} answers are the whole of column {picked.solution}: no box in it",
        ),
    ]
    notes += [f"{name}: {words(count)}" for count, words in said if count]
