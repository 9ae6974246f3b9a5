"""Where rows come from: a file, a folder, an address, or a dataset on the hub, told apart in one place."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlparse

import datasets
import pyarrow
import pyarrow.parquet
from datasets import Dataset, ReadInstruction, concatenate_datasets, load_dataset, load_dataset_builder

from rewards.reading.csv_rows import csv_rows
from rewards.reading.decoding import check_format, read_text
from rewards.reading.json_rows import json_rows
from rewards.reading.table import Table

KINDS = {".jsonl": "JSON", ".json": "JSON", ".csv": "CSV", ".tsv": "CSV", ".parquet": "Parquet"}
SUFFIXES = (*KINDS, ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # what datasets says of itself


def load_table(name: str, split: str = "train", config: str | None = None, choose: str = "config and split") -> Table:
    """The rows of one split.

    Args:
        name: dataset on the hub, http(s) address of a file, local file (one of SUFFIXES), or local folder: of such
            files, a copy of a dataset on the hub, or what `save_to_disk` wrote.
        split: such as ``train`` or ``train[:100]``; a single file is any split.
        config: of a dataset on the hub or a folder with several.
        choose: how the caller's user names configuration and split; for messages.

    Raises:
        FileNotFoundError: nothing is there.
        ConnectionError: the hub cannot be reached.
        ValueError: what is there cannot be read, has no such configuration or split, or no rows.
    """
    path = Path(name).expanduser()
    if name.startswith(("http://", "https://")):
        copy = Path(datasets.DownloadManager().download(name))
        table = _sliced(_file(copy, split, urlparse(name).path), name, split)
    elif path.is_dir():
        table = _folder(path, name, split, config, choose)
    elif name.lower().endswith(SUFFIXES) or path.exists() or name.startswith((".", "/", "~")):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is no file in {Path.cwd()}: correct the path, or name a dataset on the hub"
            )
        table = _sliced(_file(path, split), name, split)
        table.notes += [f"{name}: the configuration {config} is not used, a file has none"] if config else []
    else:
        table = Table(name, _hub(name, split, config, choose))
    if not len(table):
        raise ValueError(f"{name} has no rows; name another file or split ({choose})")
    return table


def _file(path: Path, split: str, called: str | None = None) -> Table:
    """All rows of one file. `called`: its name, where its path is that of a copy."""
    kind = _kind(called or path.name)
    if kind is None:
        raise ValueError(f"{path} is none of {', '.join(SUFFIXES)}; convert it to one of them")
    if kind == "Parquet":
        with path.open("rb") as file:
            check_format(file.read(64), path, b"PAR1")
        try:
            return Table(str(path), Dataset(pyarrow.parquet.read_table(path)))
        except pyarrow.ArrowException as error:
            raise ValueError(f"{path} is not Parquet ({error}): copy or download the file again") from error
    text = read_text(path)
    if kind == "CSV":
        return Table(str(path), *csv_rows(text, path))
    return Table(str(path), *json_rows(text, path, _names(split)[0]))


def _kind(name: str) -> str | None:
    """The format that the end of a file's name tells."""
    return KINDS.get(Path(name.lower().removesuffix(".gz")).suffix)


def _names(split: str) -> list[str]:
    """The splits in an expression such as ``train[:10]+test``."""
    return re.findall(r"(?:^|\+)\s*([^+\[\s]+)", split) or [split]


def _sliced(table: Table, name: str, split: str) -> Table:
    """What a split's expression takes of a file, which is any split."""
    return _taken(dict.fromkeys(_names(split)[:1], table), name, split)


def _taken(tables: dict[str, Table], name: str, split: str) -> Table:
    notes = [note for table in tables.values() for note in table.notes]
    try:
        parts = ReadInstruction.from_spec(split).to_absolute({part: len(table) for part, table in tables.items()})
    except (ValueError, AssertionError) as error:
        raise ValueError(f"{name}: the split {split!r} cannot be read: {error}") from error
    taken = [tables[part.splitname].selected(range(part.from_, part.to)) for part in parts]
    return Table(name, _joined(taken).data, notes)


def _folder(path: Path, name: str, split: str, config: str | None, choose: str) -> Table:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        saved = datasets.load_from_disk(str(path))
        parts = saved if isinstance(saved, dict) else dict.fromkeys(_names(split)[:1], saved)
        return _taken({part: Table(name, data) for part, data in parts.items()}, name, split)
    path = path.resolve()
    files = [Path(root) / file for root, _, names in os.walk(path) for file in names if file not in _ABOUT]
    kinds = {kind for file in files if (kind := _kind(file.name))}
    page = path / "README.md"
    declared = page.is_file() and re.search(r"^(configs|data_files):", page.read_text(encoding="utf-8"), re.MULTILINE)
    if not kinds or (len(kinds) > 1 and not declared):
        # datasets would read the commonest format and leave the other files out in silence
        what = f"{' and '.join(sorted(kinds))} files; keep one kind" if kinds else f"none of {', '.join(SUFFIXES)}"
        raise ValueError(f"the folder {path} holds {what}, or name one file")
    try:
        found = load_dataset_builder(str(path), config).config.data_files
    except ValueError as error:
        raise ValueError(f"{name}: {_short(error)}. Choose with {choose}") from error
    tables = {}
    for part in dict.fromkeys(_names(split)):
        if part not in found:
            raise ValueError(f"{name} has no split {part!r}, but {', '.join(map(str, found))}. Choose with {choose}")
        tables[part] = _joined([_file(Path(file), part) for file in found[part]])
    table = _taken(tables, name, split)
    listed = {Path(file) for part in found.values() for file in part}
    unlisted = [] if declared else sorted(file.name for file in files if _kind(file.name) and file not in listed)
    if unlisted:
        table.notes.append(f"{name}: files whose names tell no split are not read: {', '.join(unlisted[:5])}")
    return table


def _joined(tables: list[Table]) -> Table:
    """Files of one split as one table."""
    notes = [note for table in tables for note in table.notes]
    if all(isinstance(table.data, list) for table in tables):
        return Table(tables[0].name, [row for table in tables for row in table.rows()], notes)
    try:
        return Table(tables[0].name, concatenate_datasets([table.data for table in tables]), notes)
    except (ValueError, pyarrow.ArrowException) as error:
        names = ", ".join(table.name for table in tables)
        raise ValueError(f"{names} do not have the same columns ({error}): read them as single files") from error


def _hub(name: str, split: str, config: str | None, choose: str) -> Dataset:
    try:
        return load_dataset(name, config, split=split)
    except ValueError as error:  # a configuration or split that is not there: datasets names those that are
        raise ValueError(f"{name}: {_short(error)}. Choose with {choose}") from error
    except (FileNotFoundError, ConnectionError) as error:
        raise type(error)(
            f"{name}: {_short(error)}. There is no file or folder of this name in {Path.cwd()} either; local files "
            f"end in {', '.join(SUFFIXES)}"
        ) from error


def _short(error: Exception) -> str:
    """The message of datasets, without its example in Python."""
    return " ".join(str(error).split("Example of usage")[0].split()).rstrip(".")
