"""Mathematics benchmarks as problems with gold answers, and the prompts that a model reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rewards.answers import last_boxed
from rewards.judges.templates import Template
from rewards.preferences.rows import check_columns, load_rows
from train.prompts import QWEN_MATH_SYSTEM_PROMPT

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
PROBLEM_COLUMNS = ("problem", "question", "prompt")
ANSWER_COLUMNS = ("answer", "final_answer", "solution")


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
    problem_column: str | None = None,
    answer_column: str | None = None,
) -> tuple[str, list[Problem], list[str]]:
    """A benchmark's problems in their order.

    Args:
        spec: a name of BENCHMARKS, or NAME=PLACE with a local file or a hub dataset (PLACE@SPLIT, default test).
        folder: where files such as math500.jsonl lie; a named benchmark is read from there instead of the hub.
        limit: only so many, evenly spaced.
        problem_column, answer_column: default the first that is there of PROBLEM_COLUMNS and ANSWER_COLUMNS. A list in
            the answer column holds alternatives, GSM8K's "####" and a solution's last box are understood.

    Returns:
        ``(name, problems, notes)``; a note tells how many rows were left out and why.

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
    rows, notes = load_rows(place, split, config, limit)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    problem_column = problem_column or next((c for c in PROBLEM_COLUMNS if c in columns), PROBLEM_COLUMNS[0])
    answer_column = answer_column or next((c for c in ANSWER_COLUMNS if c in columns), ANSWER_COLUMNS[0])
    check_columns(rows, [problem_column, answer_column], place)
    ids = [str(row["id"]) for row in rows if row.get("id") is not None]
    if len(set(ids)) < len(rows):
        ids = [f"{name}-{i}" for i in range(len(rows))]
    problems = [
        Problem(i, str(row.get(problem_column) or ""), gold_answers(row.get(answer_column), answer_column))
        for i, row in zip(ids, rows)
    ]
    usable = [p for p in problems if p.problem.strip() and p.golds]
    if not usable:
        raise ValueError(f"{place}: no row has both {problem_column!r} and {answer_column!r}; name other columns")
    if len(usable) < len(problems):
        notes = [*notes, f"{name}: {len(problems) - len(usable)} rows without a problem or an answer left out"]
    return name, usable, notes


def gold_answers(value, column: str) -> tuple[str, ...]:
    r"""The answers in a cell: a text, a number or a list of alternatives; of a solution its last ``\boxed{}``."""
    texts = [str(v) for v in (value if isinstance(value, (list, tuple)) else [value]) if v is not None]
    if column == "solution":
        texts = [text if "####" in text else last_boxed(text) or "" for text in texts]
    answers = [re.sub(r"(?<!\\)\$", "", text.rsplit("####", 1)[-1]).strip() for text in texts]
    return tuple(dict.fromkeys(answer for answer in answers if answer))


def write_prompt(template: str, problem: str) -> str | list[dict[str, str]]:
    """A problem as the prompt that `rewards.frozen.encoding.encode_prompt` takes: chat messages, or plain text.

    Args:
        template: one of TEMPLATES, or a text file with {problem} in it, which gives plain text.

    Raises:
        FileNotFoundError: neither; the message lists the names.
        ValueError: a file without {problem}, or with other placeholders.
    """
    if template in CHAT:
        system = [{"role": "system", "content": CHAT[template]}] if CHAT[template] else []
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
