"""Files as collections on the hub lay them out, in rows of our own: what a model is to be shown, and what is right.

Columns follow the cards of the collections; problems are made up.
"""

from dataclasses import dataclass, field


@dataclass
class Layout:
    """`shown` and `golds`: of each usable row. `refused`: what both say to it without `flags`, which mend it;
    `unanswered`: what evaluation says, where training loads it without answers. `said`: in the notes of both."""

    rows: list[dict]
    shown: list[str]
    golds: list[tuple[str, ...]] = field(default_factory=list)
    refused: str = ""
    unanswered: str = ""
    flags: dict = field(default_factory=dict)
    said: str = ""


def ask(problem, *choices):
    lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCDEFGHIJ", choices))
    return f"{problem}\n\n{lines}\n\nAnswer with the letter of the right choice."


def user(text):
    return [{"role": "user", "content": text}]


SUM, HALF = "What is 2 + 3?", "Halve one."
BOX = r"We add: $2 + 3 = \boxed{5}$."
PARTS = ["4", "5", "6"]
ASKED = ask(SUM, *PARTS)
PAIR = {"shown": [SUM, HALF], "golds": [("5",), (r"\frac{1}{2}",)]}
ONE = {"shown": [SUM], "golds": [("5",)]}
CHOICE = {"shown": [ASKED], "golds": [("B",)]}
