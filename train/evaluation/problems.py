"""Mathematics benchmarks as problems with gold answers, and the prompts that a model reads."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rewards.judges.templates import Template
from rewards.reading.sources import SUFFIXES, load_table
from rewards.reading.table import Table
from train.problems.answers import missing_answers
from train.problems.columns import Columns
from train.problems.reader import Item, read_problems
from train.prompts import QWEN_MATH_SYSTEM_PROMPT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Title in tables, and where the benchmark lies on the hub."""

    title: str
    hub: str
    split: str = "test"
    config: str | None = None


BENCHMARKS = {
    "aime24": Source("AIME24", "HuggingFaceH4/aime_2024", "train"),
    "amc23": Source("AMC", "math-ai/amc23"),
    "math500": Source("MATH-500", "HuggingFaceH4/MATH-500"),
    "minerva_math": Source("Minerva", "math-ai/minervamath"),
    "olympiadbench": Source("Olympiad", "Hothan/OlympiadBench", "train", "OE_TO_maths_en_COMP"),
    "aime25": Source("AIME25", "math-ai/aime25"),
    "gsm8k": Source("GSM8K", "openai/gsm8k", "test", "main"),
}
PAPER = ("aime24", "amc23", "math500", "minerva_math", "olympiadbench")  # columns and order of the paper's table

# Chat templates: the system message. Qwen2.5-Math's own chat template with this system message is its official prompt.
CHAT = {"qwen-math": QWEN_MATH_SYSTEM_PROMPT, "chat": None}
TEXT = {
    "question-answer": "Question: {problem}\nAnswer:",
    "boxed": "{problem}\n" + QWEN_MATH_SYSTEM_PROMPT + "\n",
    "none": "{problem}",
}
_MARKS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]")  # of chat templates
TEMPLATES = (*CHAT, *TEXT)


@dataclass(frozen=True)
class Problem:
    """One problem. `golds`: right answers, each of which counts."""

    id: str
    problem: str
    golds: tuple[str, ...]


def load_benchmark(
    spec: str,
    folder: str | Path | None = None,
    limit: int | None = None,
    **columns: str | None,
) -> tuple[str, list[Problem], list[str]]:
    """A benchmark's problems in their order.

    Args:
        spec: a name of BENCHMARKS, or NAME=PLACE with a local file or folder, or a dataset on the hub. PLACE@SPLIT
            names its split (default test), PLACE@CONFIG:SPLIT its configuration too.
        folder: where files such as math500.jsonl lie; a named benchmark is read from there instead of the hub.
        limit: only so many, evenly spaced.
        columns: problem_column, answer_column and the other settings of `train.problems.columns.Columns`, where the
            reader would not find them by itself.

    Returns:
        ``(name, problems, notes)``; the notes tell what was guessed, what is not shown to the model, and how many
        rows were left out and why.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown name, absent columns, or no row with both a problem and an answer.
    """
    name, _, place = spec.partition("=")
    if not place and name not in BENCHMARKS:
        raise ValueError(f"no benchmark {name!r}: use {', '.join(BENCHMARKS)}, or NAME=FILE_OR_HUB_NAME for your own")
    split, config = "test", None
    if not place and folder is not None:
        place = str(_file_of(name, Path(folder)))
    elif not place:
        source = BENCHMARKS[name]
        place, split, config = source.hub, source.split, source.config
    elif "@" in place and not Path(place).exists():
        place, _, split = place.rpartition("@")
        own = re.match(r"([^\[:]+):(.*)", split)  # a colon in brackets is that of a slice, test[:10]
        config, split = (own[1], own[2]) if own else (None, split)
    table = load_table(place, split, config, "NAME=PLACE@SPLIT or NAME=PLACE@CONFIG:SPLIT").limited(limit)
    reading = read_problems(table, Columns.of(columns))
    logger.info("%s: %s", name, reading.said)
    if not reading.answered:
        raise ValueError(missing_answers(table, reading.picked))
    ids = _ids(name, table)
    notes, usable = reading.notes, []
    turns: Counter = Counter()
    for identity, item in zip(ids, reading.items):
        turns[item.single] += 1
        if not (item.left_out or item.single):
            usable.append(Problem(identity, item.problem, item.golds))
    left = sum(bool(item.left_out) for item in reading.items)
    several = [f"{name}: {n} prompts with {why} left out" for why, n in turns.items() if why]
    if not usable:
        raise ValueError(
            f"{place}: no row has both a problem and an answer ({'; '.join((reading.said, *several, *notes))}); name "
            "other columns: --problem_column, --answer_column"
        )
    if left:
        notes = [*notes, f"{name}: {left} rows without a problem or an answer left out"]
    return name, usable, [*notes, *several, *_templates(name, reading.items)]


def _ids(name: str, table: Table) -> list[str]:
    """The rows' own names, or their numbers where these are missing or repeat."""
    own = next((column for column in ("id", "ID", "unique_id") if column in table.columns), None)
    ids = [str(value) for value in table.column(own) if value is not None] if own else []
    return ids if len(set(ids)) == len(table) else [f"{name}-{i}" for i in range(len(table))]


def _templates(name: str, items: list[Item]) -> list[str]:
    """Notes on what the evaluation's template does to ready prompts."""
    systems = sum(isinstance(i.prompt, list) and bool(i.prompt) and i.prompt[0]["role"] == "system" for i in items)
    marked = sum(isinstance(i.prompt, str) and any(mark in i.prompt for mark in _MARKS) for i in items)
    said = {
        systems: f"{name}: the template takes the place of {systems} system messages",
        marked: f"{name}: {marked} prompts have the marks of a chat template already: --template none",
    }
    return [note for count, note in said.items() if count]


def write_prompt(template: str, problem: str) -> str | list[dict[str, str]]:
    """A problem as the prompt that `rewards.frozen.encoding.encode_prompt` takes: chat messages, or plain text.

    Args:
        template: one of TEMPLATES, or a text file with {problem} in it, which gives plain text.

    Raises:
        FileNotFoundError: neither; the message lists the names.
        ValueError: a file without {problem}, or with other placeholders.
    """
    if template in CHAT:
        said = CHAT[template]
        system = [{"role": "system", "content": said}] if said else []
        return [*system, {"role": "user", "content": problem}]
    if template in TEXT:
        return TEXT[template].replace("{problem}", problem)
    if not Path(template).is_file():
        raise FileNotFoundError(f"no template {template!r}: use {', '.join(TEMPLATES)}, or a file with {{problem}}")
    return Template(template, ["problem"]).fill(problem=problem)


def _file_of(name: str, folder: Path) -> Path:
    """The file of a benchmark in a folder.

    Raises:
        FileNotFoundError: there is none; the message says what was looked for.
    """
    found = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no {name}{'|'.join(SUFFIXES)}: add the file, or give {name}=FILE")
    return found[0]
