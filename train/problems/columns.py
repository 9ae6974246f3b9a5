"""Which column holds what: a small table of the names that collections use, and the flags that overrule it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from rewards.reading.table import Table

# The first name that is there wins, upper and lower case and separators aside. A dot leads into objects.
PROMPT = ("prompt",)
PROBLEM = ("problem", "question", "query", "instruction", "question_stem", "input", "inputs")
MESSAGES = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt")  # shown with messages
CONTEXT = ("body", "context", "passage", "article", "premise")
CHOICES = ("choices", "options", "answer_choices", "multiple_choice")
ANSWER = (
    *("answer_number", "answer", "final_answer", "answers", "expected_answer", "ground_truth", "answer_key"),
    *("correct", "correct_answer", "correct_option", "correct_choice", "correct_index", "correct_idx"),
    *("answer_letter", "answer_index", "answer_idx", "cop", "golden", "gold", "target", "targets", "label"),
    *("reward_model.ground_truth", "verification_info.ground_truth"),
)
VERDICTS = ("correct", "gold", "golden", "target", "label")
SOLUTION = ("solution", "solutions")
# Choices in columns of their own: a name is one of these and a letter or number, such as option_a, opa, choice1, A.
CHOICE_STEMS = ("", "option", "op", "opt", "choice", "ending")
# Of these, the names without separators.
RIGHT, WRONG = "correctanswer", ("incorrectanswer", "distractor")
# Parts of a question that a model may need: where such a column is not shown, the reader says so.
_TEXTS = "input instruction table story hypothesis dialogue document documents passages paragraph paragraphs code"
PARTS = {
    **dict.fromkeys((*CHOICES, "endings"), "--choices_column"),
    **dict.fromkeys((*CONTEXT, *_TEXTS.split()), "--context_column"),
    **dict.fromkeys(SYSTEM, "--system_prompt sets one for all"),
    "history": "write all turns as messages in column prompt",
}
IMAGES = re.compile(r"(decoded|question)?(image|picture|figure)s?\d*$")
_ONE_CHOICE = re.compile("(option|opt|choice|ending)([a-j]|[0-9])")
KINDS = ("letter", "text", "index", "index1")
FLAGS = ("prompt_column", "problem_column", "context_column", "choices_column", "answer_column", "solution_column")


@dataclass(frozen=True)
class Columns:
    """Names of columns as the user gives them. None: the first of the table that is there; empty: none is read.

    `choices` is one column, or several with commas between. `answer_kind`, one of KINDS, is how an answer names a
    choice; None: what fits.
    """

    prompt: str | None = None
    problem: str | None = None
    context: str | None = None
    choices: str | None = None
    answer: str | None = None
    solution: str | None = None
    answer_kind: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, str | None]) -> Columns:
        """From names as flags have them: problem_column, ..., answer_kind."""
        return cls(**{name.removesuffix("_column"): value for name, value in settings.items()})

    def __post_init__(self) -> None:
        if self.answer_kind not in (None, *KINDS):
            raise ValueError(f"answer_kind is {self.answer_kind!r}; set it to {', '.join(KINDS)}, or leave it out")


@dataclass
class Picked:
    """The columns of one table that are read; None where there is none. `also`: column read -> others of its kind."""

    prompt: str | None = None
    problem: str | None = None
    context: str | None = None
    choices: list[str] = field(default_factory=list)
    right: str | None = None  # with it choices are the wrong ones, and this is the right one
    answer: str | None = None
    solution: str | None = None
    system: str | None = None
    also: dict[str, list[str]] = field(default_factory=dict)

    @property
    def read(self) -> set[str]:
        """All columns that are read, objects by the column that they are in."""
        named = (self.prompt, self.problem, self.context, self.right, self.answer, self.solution, self.system)
        names = [name for name in (*named, *self.choices) if name]
        return {*names, *(name.partition(".")[0] for name in names)}

    def describe(self, name: str, columns: list[str]) -> str:
        """One sentence that says what is read from where."""
        parts = [("prompt", self.prompt), ("problem", self.problem), ("context", self.context)]
        parts += [("choices", ", ".join(self.choices))] if self.choices else []
        parts += [
            ("system message", self.system),
            ("right choice", self.right),
            ("answer", self.answer),
            ("solution", self.solution),
        ]
        said = []
        for part, column in parts:
            others = ", ".join(self.also.get(column or "", []))
            said += [f"{part} from {column}" + (f" (also there: {others})" if others else "")] if column else []
        rest = [column for column in columns if column not in self.read]
        return f"{name}: {'; '.join(said)}" + (f"; not read: {', '.join(rest)}" if rest else "")


def pick(table: Table, columns: Columns) -> Picked:
    """The columns to read, by flags and table.

    Raises:
        ValueError: a column that was named is not there, or there is neither prompt nor problem; the message says
            what was looked for, what is there, and the flag.
    """
    there: dict[str, str] = {}
    for column in table.columns:
        there.setdefault(plain(column), column)
    found = Picked()
    for part, names in (("prompt", PROMPT), ("problem", PROBLEM), ("answer", ANSWER), ("solution", SOLUTION)):
        given = getattr(columns, part)
        setattr(found, part, _first(table, there, names, found) if given is None else _named(table, given, part))
    empty = found.prompt and columns.prompt is None and not any(table.column(found.prompt))
    if empty or (columns.prompt is None and columns.problem):
        found.prompt = None  # who names the problem wants the prompt to be made from it
    if found.prompt:
        if found.problem:
            found.also.setdefault(found.prompt, []).append(found.problem)
        found.problem = None
        if columns.context:
            raise ValueError(
                f"{table.name}: --context_column is shown with a problem, but prompts in column {found.prompt} are "
                "used as they stand: add --prompt_column '' --problem_column NAME"
            )
    elif found.problem is None and columns.prompt is None:
        found.prompt = _first(table, there, MESSAGES, found)
        found.system = _first(table, there, SYSTEM, found) if found.prompt else None
    if not (found.prompt or found.problem):
        _fail(table, columns, there)
    if found.problem and (columns.context is None or columns.context):
        _pick_context(found, table, columns, there)
    _pick_choices(found, table, columns, there)
    return found


def unshown(table: Table, picked: Picked) -> list[str]:
    """A note for each column that looks like a part of the question and is not shown to the model."""
    notes, parts = [], {plain(part): flag for part, flag in PARTS.items()}
    for column in table.columns:
        name = plain(column)
        flag = "no flag: models here read text only" if IMAGES.match(name) else parts.get(name)
        flag = flag or ("--choices_column" if _ONE_CHOICE.fullmatch(name) else None)
        if flag is None or column in picked.read:
            continue
        rows = sum(bool(value) for value in _cells(table, column))
        if rows:
            flag += ", with --prompt_column ''" if picked.prompt and flag.endswith("_column") else ""
            notes.append(f"{table.name}: column {column} is not shown to the model ({rows} rows have one): {flag}")
    return notes


def _cells(table: Table, column: str) -> list:
    """Values of a column; those of pictures are not unpacked."""
    if IMAGES.match(plain(column)) and not isinstance(table.data, list):
        return [not null for null in table.data.data.column(column).is_null().to_pylist()]
    return table.column(column)


def plain(name: str) -> str:
    """A column's name as the table writes it."""
    return re.sub(r"[\s_-]", "", name.lower())


def _named(table: Table, given: str, part: str) -> str | None:
    if given and not table.has(given):
        raise ValueError(f"{table.name} has no column {given!r} (--{part}_column); {_there(table)}")
    return given or None


def _there(table: Table) -> str:
    return f"columns found: {', '.join(table.columns)}"


def _first(table: Table, there: dict[str, str], names: tuple[str, ...], found: Picked) -> str | None:
    """The first column of these names that holds anything; the others are kept in `also`."""
    present = [there.get(plain(name), name if "." in name and table.has(name) else None) for name in names]
    usable = {c: _values(table, c) for c in present if c}
    # truth values are an answer only where the name says so, and else a verdict
    usable = {c: v for c, v in usable.items() if plain(c) not in VERDICTS or not any(isinstance(x, bool) for x in v)}
    filled = [c for c, values in usable.items() if values]
    if filled:
        found.also[filled[0]] = filled[1:]
    return filled[0] if filled else next(iter(usable), None)


def _values(table: Table, column: str) -> list:
    return [value for value in table.column(column) if value is not None and value != ""]


def _pick_context(found: Picked, table: Table, columns: Columns, there: dict[str, str]) -> None:
    if columns.context:
        found.context = _named(table, columns.context, "context")
        return
    names = (*CONTEXT, "input") if plain(found.problem or "") == "instruction" else CONTEXT
    texts = [
        there[name]
        for name in names
        if name in there
        and there[name] != found.problem
        and any(isinstance(v, str) and v.strip() for v in table.column(there[name]))
    ]
    found.context = texts[0] if texts else None


def _pick_choices(found: Picked, table: Table, columns: Columns, there: dict[str, str]) -> None:
    if columns.choices == "":
        return
    if columns.choices:
        names = [name.strip() for name in columns.choices.split(",")]
        found.choices = [_named(table, name, "choices") or name for name in names]
        return
    one = _first(table, there, CHOICES, found)
    if one:
        found.choices = [one]
        return
    wrong = [there[name] for name in there if re.fullmatch(rf"({'|'.join(WRONG)})\d+", name)]
    if RIGHT in there and wrong:
        found.right, found.choices, found.answer = there[RIGHT], sorted(wrong), None
        return
    for stem in CHOICE_STEMS:
        for marks in ("abcdefghij", "123456789", "0123456789"):
            own = [there[name] for name in takewhile(there.__contains__, (f"{stem}{mark}" for mark in marks))]
            if len(own) >= (2 if stem else 3) and (stem or marks[0] == "a"):
                found.choices = own
                return


def _fail(table: Table, columns: Columns, there: dict[str, str]) -> None:
    wanted = ", ".join(dict.fromkeys((columns.problem,) if columns.problem else PROBLEM))
    texts = [c for c in table.columns if any(isinstance(v, str) and v.strip() for v in table.column(c)[:100])]
    hint = next((c for c in texts if plain(c) not in map(plain, ANSWER) and plain(c) != "id"), "NAME")
    raise ValueError(
        f"{table.name} has neither a column of prompts ({', '.join((*PROMPT, *MESSAGES))}) nor one of problems "
        f"({wanted}); {_there(table)}. Name the right one, for example --problem_column {hint}"
    )
