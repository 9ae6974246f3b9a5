"""A table of rows, read column by column, whatever it came from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow
from datasets import ClassLabel, Dataset


class Table:
    """Rows of a dataset. Values are Python's; a class label is its name.

    Args:
        name: the dataset as the user named it.
        data: a dataset, or rows that need not have the same keys.
        notes: what a reader of results has to know of how it was read.
    """

    def __init__(self, name: str, data: Dataset | list[dict], notes: Sequence[str] = ()):
        self.name, self.data, self.notes = name, data, list(notes)
        if isinstance(data, Dataset):
            self.columns = list(data.column_names)
        else:
            self.columns = list(dict.fromkeys(column for row in data for column in row))
        self._cache: dict[str, list] = {}

    def __len__(self) -> int:
        return len(self.data)

    def has(self, path: str) -> bool:
        """Whether there is such a column, or such a field of objects (``reward_model.ground_truth``) in any row."""
        first, _, inner = path.partition(".")
        if path in self.columns or not inner or first not in self.columns:
            return path in self.columns
        return any(value is not None for value in self.column(path))

    def column(self, path: str) -> list:
        """The values of a column, or of a field of its objects; None where a row has none."""
        if path not in self.columns and "." in path:
            first, *inner = path.split(".")
            return [_field(value, inner) for value in self._values(first)]
        return self._values(path)

    def rows(self) -> list[dict]:
        """All rows as dicts."""
        return self.data if isinstance(self.data, list) else list(self.data)

    def limited(self, limit: int | None) -> Table:
        """Only so many rows, evenly spaced, since benchmarks are sorted by domain; a note says what is left out.

        Raises:
            ValueError: a limit below 1.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; set 1 or more, or leave it out for all rows")
        if limit is None or limit >= len(self):
            return self
        kept = self.selected(np.linspace(0, len(self) - 1, limit).round().astype(int).tolist())
        kept.notes.append(f"limited to {limit} of {len(self)} rows, evenly spaced")
        return kept

    def selected(self, rows: Sequence[int]) -> Table:
        """The rows of these numbers."""
        data = [self.data[i] for i in rows] if isinstance(self.data, list) else self.data.select(rows)
        return Table(self.name, data, self.notes)

    def dataset(self, kept: list[int], without: Collection[str] = ()) -> tuple[Dataset, list[str]]:
        """``(dataset, notes)``: the rows of these numbers, less some columns, as the datasets library holds them. A
        column with values of several kinds, which it cannot hold, becomes JSON text, and a note says so."""
        columns = [column for column in self.columns if column not in without]
        if isinstance(self.data, Dataset):
            return self.data.select_columns(columns).select(kept, keep_in_memory=True), []
        made, mixed = {}, []
        for column in columns:
            values = [self.data[i].get(column) for i in kept]
            try:
                made[column] = Dataset.from_dict({column: values}).data.column(0)
            except (pyarrow.ArrowException, OverflowError, TypeError):
                mixed.append(column)
                made[column] = pyarrow.array([None if v is None else json.dumps(v, default=str) for v in values])
        names = ", ".join(mixed)
        notes = [f"columns with values of several kinds are handed on as JSON text: {names}"] if mixed else []
        return Dataset(pyarrow.table(made)), notes

    def _values(self, name: str) -> list:
        if not isinstance(self.data, Dataset):
            return [row.get(name) for row in self.data]
        if name not in self._cache:
            values, feature = self.data[name][:], self.data.features[name]
            if isinstance(feature, ClassLabel):  # -1 is the hub's mark of a hidden label
                values = [None if v is None or v < 0 else feature.int2str(v) for v in values]
            self._cache[name] = values
        return self._cache[name]


def _field(value: Any, path: list[str]) -> Any:
    for name in path:
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = json.loads(value)
            except ValueError:
                return None
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
