"""Rows of CSV: every cell is a text as it stands, and an empty one is None."""

from __future__ import annotations

import csv
import io
from pathlib import Path

_DELIMITERS = (",", ";", "\t", "|")
_LONGEST = 2**31 - 1  # characters of a cell; Python's own limit of 131,072 is below a long solution


def csv_rows(text: str, path: Path) -> tuple[list[dict], list[str]]:
    """``(rows, notes)`` of a file's text, the first line of which names the columns.

    Fields are separated by commas, or by semicolons, tabs or bars where the first line has no comma; those with a
    separator, a quote or a line break in them stand in double quotes.

    Raises:
        ValueError: columns without or with one name, rows of another length, quotes that do not close; the message
            has file, line and fix.
    """
    head = text.lstrip("\n").split("\n", 1)[0]
    delimiter = next((d for d in _DELIMITERS if d in head), ",")
    notes = [] if delimiter == "," else [f"{path}: fields are separated by {delimiter!r}"]
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    columns: list[str] | None = None
    rows, begin = [], 1
    try:
        for cells in reader:
            if not cells:
                pass  # an empty line
            elif columns is None:
                columns = _header(cells, path)
                unnamed = columns.count("")
                notes += [f"{path}: {unnamed} column without a name is not read"] if unnamed else []
            elif len(cells) != len(columns):
                raise ValueError(
                    f"{path}, line {begin} has {len(cells)} fields where the first line names {len(columns)}: put "
                    f"fields that hold {delimiter!r}, a quote or a line break into double quotes"
                )
            else:
                rows.append({name: cell or None for name, cell in zip(columns, cells) if name})
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {begin} is not CSV ({error}): close every double quote, and write a quote within a field "
            'twice ("")'
        ) from error
    return rows, notes


def _header(cells: list[str], path: Path) -> list[str]:
    columns = [cell.strip() for cell in cells]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice or not any(columns):
        what = f"names {', '.join(map(repr, twice))} twice" if twice else "names no column"
        raise ValueError(f"{path}: the first line {what}: give every column a name of its own")
    return columns
