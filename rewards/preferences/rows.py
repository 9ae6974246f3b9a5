"""Rows of a benchmark from the hub, a URL or a local file."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
from datasets import load_dataset

JSON_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
CSV_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
SUFFIXES = (*JSON_SUFFIXES, *CSV_SUFFIXES, ".parquet")


def load_rows(
    name: str, split: str = "train", config: str | None = None, limit: int | None = None
) -> tuple[list[dict], list[str]]:
    """All rows of a dataset, in their order.

    Args:
        name: dataset on the hub, http(s) address of a JSON file, or local .jsonl, .json, .csv, .tsv (each also with
            .gz) or .parquet file. JSON files hold one object per line or one array of objects; of a CSV file every
            cell is text, and its first line names the columns.
        split, config: of a dataset on the hub; a file is any split.
        limit: only so many rows, evenly spaced over the file, since benchmarks are sorted by domain.

    Returns:
        ``(rows, notes)``: the rows as dicts; a note says what `limit` left out.

    Raises:
        FileNotFoundError: a local file that is not there. IsADirectoryError: a folder.
        ValueError: a file of another kind, a broken one, or one without rows; a limit below 1.
    """
    path = Path(name).expanduser()
    if name.startswith(("http://", "https://")):
        rows = list(load_dataset("json", data_files={split: name}, split=split))
    elif name.lower().endswith(SUFFIXES) or path.exists() or name.startswith((".", "/", "~")):
        rows = _read(path)
    else:
        rows = list(load_dataset(name, config, split=split))
    if not rows:
        raise ValueError(f"{name} has no rows; name another file or split")
    return evenly(rows, limit)


def evenly(rows: list[dict], limit: int | None) -> tuple[list[dict], list[str]]:
    """So many rows, evenly spaced, and a note on those left out; all rows without a limit.

    Raises:
        ValueError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; set 1 or more, or leave it out for all rows")
    if limit is None or limit >= len(rows):
        return rows, []
    kept = np.linspace(0, len(rows) - 1, limit).round().astype(int)
    return [rows[i] for i in kept], [f"limited to {limit} of {len(rows)} rows, evenly spaced"]


def check_columns(rows: list[dict], wanted: list[str], name: str) -> None:
    """ValueError that names the columns found where a wanted one is in no row."""
    found = list(dict.fromkeys(column for row in rows for column in row))
    absent = [column for column in wanted if column not in found]
    if absent:
        raise ValueError(
            f"{name} has no column {', '.join(map(repr, absent))}; columns found: {', '.join(found)}. "
            "Name the right column or the right file"
        )


def _read(path: Path) -> list[dict]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name one of its files")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file in {Path.cwd()}: correct the path, or name a dataset on the hub")
    if path.name.lower().endswith(".parquet"):
        return pyarrow.parquet.read_table(path).to_pylist()
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    if path.name.lower().endswith(CSV_SUFFIXES):
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            return _read_table(file, path)
    if not path.name.lower().endswith(JSON_SUFFIXES):
        raise ValueError(f"{path} is none of {', '.join(SUFFIXES)}; convert it to one of them")
    with opened(path, "rt", encoding="utf-8-sig") as file:
        text = file.read()
    if text.lstrip().startswith("["):
        rows = _parse(text, path)
    else:  # not splitlines(): a JSON string may hold other line separators than \n
        rows = [_parse(line, path, n) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    odd = next((row for row in rows if not isinstance(row, dict)), None)
    if odd is not None:
        raise ValueError(f"{path} must hold JSON objects, one per row; found {str(odd)[:100]}")
    return rows


def _read_table(file, path: Path) -> list[dict]:
    csv.field_size_limit(2**31 - 1)  # a conversation may be longer than the 128 KiB that are the default
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    try:
        rows = list(csv.DictReader(file, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} is not a table: {error}. Repair it, or convert it to JSON Lines") from error
    odd = next((n for n, row in enumerate(rows, 1) if None in row or None in row.values()), None)
    if odd is not None:
        raise ValueError(f"{path}, row {odd} has not as many cells as the first line has columns. Repair its quotes")
    return rows


def _parse(text: str, path: Path, line: int | None = None):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line}" if line else path
        raise ValueError(f"{where} is not JSON: {error}. Repair the file, or convert it to JSON Lines") from error
