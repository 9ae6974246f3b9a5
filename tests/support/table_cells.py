"""The cells of Markdown tables, so that a test holds values against values and not against padding."""

import re


def cells(text: str) -> list[list[str]]:
    """The cells of each row of all tables in a text, heads and rules included; bars within cells stay escaped."""
    rows = [line[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
