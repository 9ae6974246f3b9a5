"""Rows of a benchmark from the hub, a URL or a local file."""

from __future__ import annotations

from rewards.reading.sources import load_table


def load_rows(
    name: str, split: str = "train", config: str | None = None, limit: int | None = None
) -> tuple[list[dict], list[str]]:
    """All rows of a dataset, in their order.

    Args:
        name, split, config: as `rewards.reading.sources.load_table` takes them; a single file is any split.
        limit: only so many rows, evenly spaced over the file, since benchmarks are sorted by domain.

    Returns:
        ``(rows, notes)``: the rows as dicts; a note says what `limit` left out.

    Raises:
        FileNotFoundError: a local file that is not there.
        ValueError: a file that cannot be read, or has no rows; a limit below 1.
    """
    table = load_table(name, split, config).limited(limit)
    return table.rows(), table.notes


def check_columns(rows: list[dict], wanted: list[str], name: str) -> None:
    """ValueError that names the columns found where a wanted one is in no row."""
    found = list(dict.fromkeys(column for row in rows for column in row))
    absent = [column for column in wanted if column not in found]
    if absent:
        raise ValueError(
            f"{name} has no column {', '.join(map(repr, absent))}; columns found: {', '.join(found)}. "
            "Name the right column or the right file"
        )
