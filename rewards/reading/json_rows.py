"""Rows of JSON and JSON Lines, as Python reads them: a number stays the number that the file holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_WRAPPERS = (
    *("data", "dataset", "rows", "examples", "instances", "questions", "problems", "items", "records"),
    *("train", "test", "validation", "valid", "val", "dev", "eval"),
)
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def json_rows(text: str, path: Path, split: str) -> tuple[list[dict], list[str]]:
    """``(rows, notes)`` of a file's text.

    Understood are one object a line, an array of objects, an object of columns (lists of one length, or pandas'
    numbered cells), and an object with one such list in it (``{"data": [...]}``), or with one for each split.

    Raises:
        ValueError: none of these; the message has file, line and fix.
    """
    start, lines = text.lstrip()[:1], path.name.lower().removesuffix(".gz").endswith(".jsonl")
    if start == "[":
        return _checked(_parse(text, path), path), []
    first, _, rest = text.lstrip().partition("\n")
    if _whole(first) and (lines or rest.strip()):
        return _lines(text, path), []
    if lines and not _whole(text):
        return _lines(text, path), []  # fails, and says in which line
    return _document(_parse(text, path), path, split)


def _whole(text: str) -> bool:
    """Whether the text is JSON by itself."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(text: str, path: Path) -> list[dict]:
    # not splitlines(): a JSON string may hold other line separators than \n
    lines = text.split("\n")
    last = max(n for n, line in enumerate(lines, 1) if line.strip())
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows.append(_parse(line, path, number, cut=number == last == len(lines) and line.lstrip()[0] == "{"))
            if not isinstance(rows[-1], dict):
                raise ValueError(
                    f'{path}, line {number} must hold a JSON object such as {{"problem": ...}}; found {line[:100]}'
                )
    return rows


def _checked(rows: Any, path: Path) -> list[dict]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(f"{path} must hold JSON objects, one per row; row {number} is {str(row)[:100]}")
    return rows


def _document(value: Any, path: Path, split: str) -> tuple[list[dict], list[str]]:
    """Rows of a file that is one JSON value and no array."""
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold JSON objects, one per row; found {str(value)[:100]}")
    tables = {key: v for key, v in value.items() if _is_table(v)}
    if len(tables) < len(value):  # one row may have lists of objects too, such as its choices
        tables = {key: v for key, v in tables.items() if key.lower() in (*_WRAPPERS, split)}
    if split in tables or len(tables) == 1:
        key = split if split in tables else next(iter(tables))
        others = ", ".join(name for name in value if name != key)
        note = f"{path}: rows read from {key!r}" + (f" (not read: {others})" if others else "")
        return _checked(tables[key], path), [note]
    if tables:
        raise ValueError(
            f"{path} has rows under several keys ({', '.join(tables)}) and none is called {split!r}: name one of them "
            "as the split, or write one file for each"
        )
    if value and all(isinstance(v, list) and not _is_chat(v) for v in value.values()):
        lengths = {key: len(v) for key, v in value.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"{path} holds columns of unequal lengths ({', '.join(f'{k}: {n}' for k, n in lengths.items())}): "
                "write one object a row"
            )
        return [dict(zip(value, cells)) for cells in zip(*value.values())], []
    inner = list(value.values())
    if inner and all(isinstance(v, dict) and v and all(key.isdigit() for key in v) for v in inner):
        if any(list(v) != list(inner[0]) for v in inner):
            raise ValueError(f"{path} holds columns with unlike row numbers: write one object a row")
        return [{column: cells[key] for column, cells in value.items()} for key in inner[0]], []
    if inner and all(isinstance(v, dict) for v in inner):
        keys = ", ".join(list(value)[:3])
        raise ValueError(f"{path} is one object with the keys {keys}, ...: write an array of objects, one a row")
    return [value], []


def _is_table(value: Any) -> bool:
    """Whether a value is a list of objects that are no chat messages."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and not _is_chat(value)


def _is_chat(values: list) -> bool:
    return any(isinstance(item, dict) and {"role", "from"} & set(item) for item in values[:1])


def _parse(text: str, path: Path, line: int | None = None, cut: bool = False) -> Any:
    where = f"{path}, line {line}" if line else str(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        what = "the end of the file is missing, as if its writing was cut off: delete the line, or write the file anew"
        fix = what if cut else "repair the file, or convert it to JSON Lines"
        reason = f"{error.msg}, column {error.colno}" if line and isinstance(error, json.JSONDecodeError) else error
        raise ValueError(f"{where} is not JSON ({reason}): {fix}") from error
    if _HALF_PAIR.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            code = f"\\u{ord(error.object[error.start]):04x}"
            raise ValueError(f"{where} holds half of a character, {code} without its pair: repair it") from error
    return value
