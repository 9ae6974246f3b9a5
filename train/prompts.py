"""Prompts for RL: a hub dataset or local files as the ``prompt``, ``solution``, ``answer`` columns trainers read."""

import dataclasses
import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from rewards.answers import last_boxed
from rewards.frozen.encoding import encode_prompt
from rewards.frozen.messages import rendering_of

logger = logging.getLogger(__name__)

# The system prompt Qwen2.5-Math-Instruct was trained with (its model card); the usual one for MATH.
QWEN_MATH_SYSTEM_PROMPT = r"Please reason step by step, and put your final answer within \boxed{}."
BUILDERS = {".jsonl": "json", ".json": "json", ".jsonl.gz": "json", ".json.gz": "json", ".parquet": "parquet"}
_DROPPED, _LENGTH = "__dropped__", "__length__"


@dataclass
class DataArguments:
    """Where the training prompts come from and how they are written. ValueError on values that cannot work."""

    dataset_name: str = field(
        default="DigitalLearningGmbH/MATH-lighteval",
        metadata={
            "help": "Dataset on the hub, or a local .jsonl, .json, .jsonl.gz or .parquet file or a folder of them."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration (subset) of the dataset, if any."}
    )
    dataset_split: str = field(
        default="train",
        metadata={"help": "Split to train on; slices such as train[:100] work. A single local file is any split."},
    )
    prompt_column: str = field(
        default="prompt",
        metadata={
            "help": "Column with ready prompts (text or chat messages), used as they stand where the dataset has it; "
            "prompt_format, system_prompt and text_template then do not apply. Empty: never use one."
        },
    )
    problem_column: str = field(
        default="problem", metadata={"help": "Column with the problem; read where there is no prompt column."}
    )
    solution_column: str = field(
        default="solution",
        metadata={
            "help": "Column with the worked solution; its last \\boxed{} is the answer where the answer column gives "
            "none, and a row with neither is dropped. Empty: do not read one."
        },
    )
    answer_column: str = field(
        default="answer", metadata={"help": "Column with the final answer, if any. Empty: do not read one."}
    )
    prompt_format: str = field(
        default="chat",
        metadata={
            "help": "chat: system prompt and problem as messages, rendered with the tokenizer's chat template. "
            "text: the text_template as plain text.",
            "choices": ["chat", "text"],
        },
    )
    system_prompt: str | None = field(
        default=QWEN_MATH_SYSTEM_PROMPT,
        metadata={"help": "System message of chat prompts; null or empty: none. Not used with prompt_format text."},
    )
    text_template: str = field(
        default="{problem}",
        metadata={"help": "Prompt for prompt_format text; {problem} is filled in, literal braces are doubled."},
    )
    max_prompt_length: int = field(
        default=1024,
        metadata={"help": "In tokens, chat template included. Longer prompts are dropped and counted, never cut."},
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Use only the first so many usable rows; null: all of them."}
    )

    heldout_name: str | None = field(
        default=None,
        metadata={"help": "Dataset or file with held-out prompts for evaluation while training; null: dataset_name."},
    )
    heldout_split: str | None = field(
        default=None,
        metadata={"help": "Its split, e.g. test. With neither this nor heldout_name nothing is held out."},
    )
    max_heldout_samples: int = field(default=256, metadata={"help": "Use only the first so many held-out rows."})

    def __post_init__(self) -> None:
        for name in ("dataset_name", "dataset_split"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; give it a value or leave it out for the default")
        if self.prompt_format not in ("chat", "text"):
            raise ValueError(f"prompt_format is {self.prompt_format!r}; set it to 'chat' or 'text'")
        if self.max_prompt_length < 1:
            raise ValueError(f"max_prompt_length is {self.max_prompt_length}; set it to 1 token or more")
        if self.max_train_samples is not None and self.max_train_samples < 1:
            raise ValueError(f"max_train_samples is {self.max_train_samples}; set 1 or more, or null for all rows")
        for name in ("system_prompt", "text_template"):
            # YAML reads "\boxed" in double quotes as a backspace and "oxed", which no reader of a log would notice.
            if re.search(r"[\x08\x0c]", getattr(self, name) or ""):
                raise ValueError(
                    f"{name} holds a control character; in YAML put text with backslashes in single quotes"
                )
        marker = "<the problem>"
        try:
            shown = self.text_template.format(problem=marker)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"text_template {self.text_template!r} cannot be filled in; double its literal braces: \\boxed{{{{}}}}"
            ) from error
        if marker not in shown:
            raise ValueError(f"text_template {self.text_template!r} has no {{problem}} in it; put it where it belongs")


def load_heldout(args: DataArguments, tokenizer: Any, chat_template_kwargs: dict | None = None) -> Dataset | None:
    """The held-out prompts as :func:`load_prompts` gives them; None where the recipe names none, or where they would
    be another split of a single file, which has no splits (this is logged).

    Raises:
        ValueError: they would be the training prompts themselves, or as for :func:`load_prompts`.
    """
    if args.heldout_name is None and args.heldout_split is None:
        return None
    name, split = args.heldout_name or args.dataset_name, args.heldout_split or "test"
    if args.heldout_name is None and Path(name).is_file():
        logger.warning("%s has no splits, so nothing is held out: set heldout_name to another file.", name)
        return None
    if (name, split) == (args.dataset_name, args.dataset_split):
        raise ValueError(f"The held-out prompts are the training prompts ({name}): set heldout_name or heldout_split.")
    changes = {"dataset_name": name, "dataset_split": split, "max_train_samples": args.max_heldout_samples}
    return load_prompts(dataclasses.replace(args, **changes), tokenizer, chat_template_kwargs)[0]


def load_prompts(
    args: DataArguments, tokenizer: Any, chat_template_kwargs: dict | None = None
) -> tuple[Dataset, dict[str, int]]:
    """Load the training prompts, drop the unusable ones and say how many.

    The result depends on ``args`` and the tokenizer alone: rows stay in file order and nothing is cached.

    Args:
        args: what to load.
        tokenizer: measures the prompts exactly as the trainers tokenise them.
        chat_template_kwargs: the trainer's, for that measure.

    Returns:
        ``(dataset, counts)``. The dataset has ``prompt`` (text, or a list of ``{"role", "content"}``), ``solution``
        (text) where the dataset has that column, ``answer`` (text; the answer column, of it what follows any ``####``
        as in GSM8K, else the last box of the solution) where it has either, and its other columns unchanged.
        ``counts`` holds rows: ``read``, ``empty_prompt``, ``no_answer``, ``too_long``, ``over_limit`` (left out by
        max_train_samples) and ``kept``; ``read`` is the sum of the others. They are logged as well, as a warning where
        rows were dropped. ``longest_prompt`` is that of the kept rows, in tokens.

    Raises:
        FileNotFoundError: a local file or folder that is not there.
        ValueError: columns that are absent or of the wrong kind, no chat template, no usable row.
    """
    data, ready, chat = _prompt_column(_load(args), args, tokenizer)
    columns = set(data.column_names)

    # No cache: datasets recognises functions of a module by name, so it would serve rows made by older code.
    mapped = data.map(
        partial(_prepare, args=args, tokenizer=tokenizer, ready=ready, chat=chat, variables=chat_template_kwargs),
        batched=True,
        remove_columns=[c for c in (args.solution_column, args.answer_column) if c in columns],
        keep_in_memory=True,
        load_from_cache_file=False,
    )
    verdicts = mapped[_DROPPED][:] if len(mapped) else []
    usable = [row for row, verdict in enumerate(verdicts) if not verdict]
    kept = usable[: args.max_train_samples]
    reasons = Counter(verdicts)
    counts = {"read": len(data)} | {reason: reasons[reason] for reason in ("empty_prompt", "no_answer", "too_long")}
    counts |= {"over_limit": len(usable) - len(kept), "kept": len(kept)}
    counts["longest_prompt"] = max((mapped[_LENGTH][row] for row in kept), default=0)
    summary = _describe(args, counts)
    if not kept:
        raise ValueError(
            f"no usable row. {summary}. Raise --max_prompt_length, or name other columns (found: "
            f"{', '.join(data.column_names)}); --solution_column '' stops reading boxed answers"
        )
    logger.log(logging.WARNING if len(usable) < len(data) else logging.INFO, summary)
    return mapped.remove_columns([_DROPPED, _LENGTH]).select(kept, keep_in_memory=True), counts


def _prompt_column(data: Dataset, args: DataArguments, tokenizer: Any) -> tuple[Dataset, bool, bool]:
    """The data, with a prompt column if it has prompts of its own; whether it does; whether prompts are messages."""
    ready = _check_columns(args, data.column_names)
    if ready:
        first = next((prompt for prompt in data[args.prompt_column] if prompt), "")
        chat = not isinstance(first, str)
        if args.prompt_column != "prompt":
            if "prompt" in data.column_names:
                data = data.remove_columns("prompt")
            data = data.rename_column(args.prompt_column, "prompt")
    else:
        chat = args.prompt_format == "chat"
    if chat and not getattr(tokenizer, "chat_template", None):
        fix = "make the prompt column plain text" if ready else "use --prompt_format text"
        raise ValueError(
            "the prompts are chat messages but the tokenizer has no chat template: choose a model with one, set "
            f"tokenizer.chat_template, or {fix}"
        )
    return data, ready, chat


def _prepare(
    batch: dict[str, list], args: DataArguments, tokenizer: Any, ready: bool, chat: bool, variables: dict | None
) -> dict[str, list]:
    """Prompts, solutions and answers of a batch of rows, each row with the reason why it is dropped ("" if not) and
    the tokens of its prompt."""
    has_solution, has_answer = args.solution_column in batch, args.answer_column in batch
    size = len(next(iter(batch.values())))
    if ready:
        prompts = batch["prompt"]
        for prompt in prompts:
            _check_ready(prompt, chat, args.prompt_column)
        empty = [not (prompt if chat else (prompt or "").strip()) for prompt in prompts]
        out = {}
    else:
        problems = [_text(problem, args.problem_column) for problem in batch[args.problem_column]]
        empty = [not problem.strip() for problem in problems]
        prompts = [_write_prompt(args, problem) for problem in problems]
        out = {"prompt": prompts}
    no_answer = [False] * size
    if has_solution:
        out["solution"] = [_text(solution, args.solution_column) for solution in batch[args.solution_column]]
    if has_answer or has_solution:
        given = batch[args.answer_column] if has_answer else [None] * size
        boxed = [last_boxed(text) or "" for text in out.get("solution", [""] * size)]
        # GSM8K's answer column is the whole solution, with the answer after "####".
        given = [_text(answer, args.answer_column).rsplit("####", 1)[-1].strip() for answer in given]
        out["answer"] = [g or b for g, b in zip(given, boxed, strict=True)]
        no_answer = [not answer for answer in out["answer"]]
    out[_DROPPED] = ["empty_prompt" if e else "no_answer" if n else "" for e, n in zip(empty, no_answer, strict=True)]
    usable = [row for row in range(size) if not out[_DROPPED][row]]
    rows = [{c: batch[c][row] for c in ("tools", "chat_template_kwargs") if c in batch} for row in usable]
    lengths = _prompt_lengths([prompts[row] for row in usable], tokenizer, rows, variables)
    out[_LENGTH] = [0] * size
    for row, length in zip(usable, lengths, strict=True):
        out[_LENGTH][row] = length
        if length > args.max_prompt_length:
            out[_DROPPED][row] = "too_long"
    return out


def _load(args: DataArguments) -> Dataset:
    """The raw rows of the wanted split, from the hub or from local files."""
    name, path = args.dataset_name, Path(args.dataset_name).expanduser()
    suffix = next((s for s in sorted(BUILDERS, key=len, reverse=True) if name.lower().endswith(s)), None)
    if not (suffix or path.exists() or name.startswith((".", "/", "~"))):
        return load_dataset(name, args.dataset_config, split=args.dataset_split)
    if path.is_dir():
        found = {BUILDERS[s] for s in BUILDERS for file in path.rglob(f"*{s}") if file.is_file()}
        if len(found) != 1:  # datasets would read the commonest format and leave the other files out in silence
            what = "both JSON and parquet files; keep one kind" if found else f"none of {', '.join(BUILDERS)}"
            raise ValueError(f"the folder {path} (dataset_name) holds {what}")
        return load_dataset(str(path), args.dataset_config, split=args.dataset_split)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} (dataset_name) does not exist in {Path.cwd()}: correct the path, or name a dataset on the hub"
        )
    if suffix is None:
        raise ValueError(f"{path} (dataset_name) is none of {', '.join(BUILDERS)}; convert it to one of them")
    split = re.match(r"[^\[]*", args.dataset_split).group()  # "train" of "train[:10]": a lone file is that split
    return load_dataset(BUILDERS[suffix], data_files={split: str(path)}, split=args.dataset_split)


def _check_columns(args: DataArguments, columns: list[str]) -> bool:
    """Whether the dataset has ready prompts; ValueError where the columns cannot give any."""
    found = f"columns found: {', '.join(columns)}"
    for f in dataclasses.fields(args):
        value = getattr(args, f.name)
        # A default may be absent (MATH has no answer column); a name the user chose and misspelt must not pass.
        if f.name.endswith("_column") and value and value != f.default and value not in columns:
            raise ValueError(f"{args.dataset_name} has no column {value!r} ({f.name}); {found}")
    ready = args.prompt_column in columns
    if not ready and args.problem_column not in columns:
        hint = next((c for c in ("question", "query", "instruction", "input") if c in columns), "NAME")
        raise ValueError(
            f"{args.dataset_name} has neither a prompt column {args.prompt_column!r} nor a problem column "
            f"{args.problem_column!r}; {found}. Name the right one, for example --problem_column {hint}"
        )
    return ready


def _check_ready(prompt: Any, chat: bool, column: str) -> None:
    if prompt is None:
        return
    good = isinstance(prompt, str) and not chat
    if isinstance(prompt, list) and chat:
        good = all(isinstance(m, dict) and "role" in m and "content" in m for m in prompt)
    if not good:
        raise ValueError(
            f"column {column!r} must hold only texts or only lists of messages with 'role' and 'content'; found "
            f"{str(prompt)[:200]}. Set --prompt_column '' to build prompts from the problem column instead"
        )


def _text(value: Any, column: str) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    if value is None:
        return ""
    raise ValueError(f"column {column!r} must hold text or numbers, not {type(value).__name__}: {str(value)[:200]}")


def _write_prompt(args: DataArguments, problem: str) -> str | list[dict[str, str]]:
    if args.prompt_format == "text":
        return args.text_template.format(problem=problem)
    system = [{"role": "system", "content": args.system_prompt}] if args.system_prompt else []
    return [*system, {"role": "user", "content": problem}]


def _prompt_lengths(prompts: list, tokenizer: Any, rows: list[dict], chat_template_kwargs: dict | None) -> list[int]:
    """Tokens of each prompt as the trainers tokenise it; `rows` are the columns by which they render it."""
    how = [rendering_of(row, chat_template_kwargs) for row in rows]
    return [len(encode_prompt(tokenizer, prompt, **own)) for prompt, own in zip(prompts, how, strict=True)]


def _describe(args: DataArguments, counts: dict[str, int]) -> str:
    return (
        f"prompts from {args.dataset_name} ({args.dataset_split}): {counts['read']} rows read, {counts['kept']} kept; "
        f"dropped {counts['empty_prompt']} with an empty prompt, {counts['no_answer']} without an answer (empty or "
        f"missing \\boxed{{}}), {counts['too_long']} longer than {args.max_prompt_length} tokens; "
        f"{counts['over_limit']} left out by max_train_samples"
    )
