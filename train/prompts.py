"""Prompts for RL: a hub dataset or local files as the ``prompt``, ``solution``, ``answer`` columns trainers read."""

import dataclasses
import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from rewards.frozen.encoding import encode_prompt
from rewards.frozen.messages import rendering_of
from rewards.reading.sources import load_table
from rewards.reading.table import Table
from train.problems.answers import missing_answers
from train.problems.columns import FLAGS, KINDS, Columns
from train.problems.golds import clean, golds
from train.problems.reader import Item, read_problems

logger = logging.getLogger(__name__)

# The system prompt Qwen2.5-Math-Instruct was trained with (its model card); the usual one for MATH.
QWEN_MATH_SYSTEM_PROMPT = r"Please reason step by step, and put your final answer within \boxed{}."


@dataclass
class DataArguments:
    """Where the training prompts come from and how they are written. ValueError on values that cannot work."""

    dataset_name: str = field(
        default="DigitalLearningGmbH/MATH-lighteval",
        metadata={
            "help": "Dataset on the hub, or a local file (.jsonl, .json, .csv, .tsv, each also .gz; .parquet), or a "
            "folder of them."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration (subset) of the dataset, if any."}
    )
    dataset_split: str = field(
        default="train",
        metadata={"help": "Split to train on; slices such as train[:100] work. A single local file is any split."},
    )
    prompt_column: str | None = field(
        default=None,
        metadata={
            "help": "Column with ready prompts (text or chat messages), used as they stand: prompt_format, "
            "system_prompt and text_template then do not apply. Default prompt where the dataset has it and no "
            "problem_column is named, else messages or conversations where there is no problem. Empty: never use one."
        },
    )
    problem_column: str | None = field(
        default=None, metadata={"help": "Column with the problem. Default problem, question, query, instruction, ..."}
    )
    context_column: str | None = field(
        default=None,
        metadata={
            "help": "Column with a text that is shown before the problem. Default body, context, passage, ... Empty: "
            "none."
        },
    )
    choices_column: str | None = field(
        default=None,
        metadata={
            "help": "Column with choices, which are shown as A, B, ... below the problem, or several with commas "
            "between. Default choices, options, or columns such as A, B, C. Empty: none."
        },
    )
    answer_kind: str | None = field(
        default=None,
        metadata={
            "help": "How answers name a choice: letter, text, index (from 0), index1 (from 1). Default: what fits.",
            "choices": list(KINDS),
        },
    )
    solution_column: str | None = field(
        default=None,
        metadata={
            "help": "Column with the worked solution; its last \\boxed{} is the answer where the answer column gives "
            "none, and a row with neither is dropped. Default solution. Empty: do not read one."
        },
    )
    answer_column: str | None = field(
        default=None,
        metadata={
            "help": "Column with the final answer, or a field of one (reward_model.ground_truth). Default: the first "
            "that holds anything of answer_number, answer, final_answer, ... (train/problems/README.md). Empty: none."
        },
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
        self.columns()
        marker = "<the problem>"
        try:
            shown = self.text_template.format(problem=marker)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"text_template {self.text_template!r} cannot be filled in; double its literal braces: \\boxed{{{{}}}}"
            ) from error
        if marker not in shown:
            raise ValueError(f"text_template {self.text_template!r} has no {{problem}} in it; put it where it belongs")

    def columns(self) -> Columns:
        """The names of columns."""
        return Columns.of({name: getattr(self, name) for name in (*FLAGS, "answer_kind")})


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
    heldout = dataclasses.replace(
        args, dataset_name=name, dataset_split=split, max_train_samples=args.max_heldout_samples
    )
    return load_prompts(heldout, tokenizer, chat_template_kwargs)[0]


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
        ``(dataset, counts)``. The dataset has ``prompt`` (text, or a list of ``{"role", "content"}``), where it has
        answers or solutions ``answer`` (text: the first of what `train.problems` reads as right) and ``solution``
        (text: the worked solution, which ends in that answer, or the answer alone), and its other columns unchanged.
        ``counts`` holds rows: ``read``, ``empty_prompt``, ``no_answer``, ``too_long``, ``over_limit`` (left out by
        max_train_samples) and ``kept``; ``read`` is the sum of the others. They are logged as well, as a warning where
        rows were dropped. ``longest_prompt`` is that of the kept rows, in tokens.

    Raises:
        FileNotFoundError: a local file or folder that is not there.
        ValueError: columns that are absent or of the wrong kind, no chat template, no usable row.
    """
    table = load_table(args.dataset_name, args.dataset_split, args.dataset_config, "--dataset_config, --dataset_split")
    reading = read_problems(table, args.columns())
    notes, items = reading.notes, reading.items
    prompts = [_write_prompt(args, item.problem) if item.prompt is None else item.prompt for item in items]
    chat = any(isinstance(prompt, list) for prompt in prompts)
    if chat and not getattr(tokenizer, "chat_template", None):
        fix = "make the prompt column plain text" if reading.picked.prompt else "use --prompt_format text"
        raise ValueError(
            "the prompts are chat messages but the tokenizer has no chat template: choose a model with one, set "
            f"tokenizer.chat_template, or {fix}"
        )
    lengths = _lengths(prompts, items, table, tokenizer, chat_template_kwargs)
    reasons = [i.left_out or ("too_long" if n > args.max_prompt_length else "") for i, n in zip(items, lengths)]
    usable = [row for row, reason in enumerate(reasons) if not reason]
    kept = usable[: args.max_train_samples]
    dropped = Counter(reasons)
    counts = {"read": len(table)} | {reason: dropped[reason] for reason in ("empty_prompt", "no_answer", "too_long")}
    counts |= {"over_limit": len(usable) - len(kept), "kept": len(kept)}
    counts["longest_prompt"] = max((lengths[row] for row in kept), default=0)
    summary = _describe(args, counts)
    if not kept:
        raise ValueError(
            f"no usable row. {' '.join((summary, *notes))}. Raise --max_prompt_length, or name other columns (found: "
            f"{', '.join(table.columns)}); --solution_column '' stops reading boxed answers"
        )
    column = reading.picked.prompt
    if column and not chat and getattr(tokenizer, "chat_template", None):
        notes.append(
            f"column {column} is text and used as it stands, without a chat template; to have the prompt made of it: "
            f"--prompt_column '' --problem_column {column}"
        )
    if not reading.answered and args.answer_column != "":
        if set(table.columns) > reading.picked.read:
            notes.append(f"rewards will see no answers: {missing_answers(table, reading.picked)}")
        else:
            logger.info("rewards will see no answers: the data has prompts alone")
    several = sum(len(items[row].golds) > 1 for row in kept)
    if several:
        notes.append(f"{several} rows have several right answers: rewards see the first, evaluation accepts each")
    made = {"prompt": prompts}
    if reading.answered or any(item.solution is not None for item in items):
        made["solution"] = [_reference(item) for item in items]
    if reading.answered:
        made["answer"] = [item.golds[0] if item.golds else "" for item in items]
    taken = (reading.picked.prompt, reading.picked.answer, reading.picked.solution)
    used = {*made, *(name for name in taken if name)}
    lost = [name for name in table.columns if name in made and name not in taken]
    if lost:
        notes.append(f"columns of the data that give way to what is made of others: {', '.join(lost)}")
    others, mixed = table.dataset(kept, used)
    logger.info(reading.said)
    for note in (*notes, *mixed):
        logger.warning(note)
    logger.log(logging.WARNING if len(usable) < len(table) else logging.INFO, summary)
    columns = {name: [values[row] for row in kept] for name, values in made.items()}
    return concatenate_datasets([others, Dataset.from_dict(columns)], axis=1), counts


def _reference(item: Item) -> str:
    """What rewards compare with unless they are told another column: the worked solution, or the answer alone. One
    that ends in no answer or another than the row's is followed by it, or rewards would read a wrong one off its end.
    """
    answer, solution = next(iter(item.golds), ""), item.solution or ""
    if not (answer and solution) or answer in (clean(solution), *golds(solution, worked=True)):
        return solution or answer
    return f"{solution}\n\n$\\boxed{{{answer}}}$"


def _lengths(prompts: list, items: list[Item], table: Table, tokenizer: Any, variables: dict | None) -> list[int]:
    """Tokens of each prompt as the trainers tokenise it, 0 for rows that are left out."""
    names = [name for name in ("tools", "chat_template_kwargs") if name in table.columns]
    how = [rendering_of(dict(zip(names, row)), variables) for row in zip(*(table.column(name) for name in names))]
    renderings = how or [rendering_of({}, variables)] * len(items)
    return [
        0 if item.left_out else len(encode_prompt(tokenizer, prompt, **rendering))
        for prompt, item, rendering in zip(prompts, items, renderings, strict=True)
    ]


def _write_prompt(args: DataArguments, problem: str) -> str | list[dict[str, str]]:
    if args.prompt_format == "text":
        return args.text_template.format(problem=problem)
    system = [{"role": "system", "content": args.system_prompt}] if args.system_prompt else []
    return [*system, {"role": "user", "content": problem}]


def _describe(args: DataArguments, counts: dict[str, int]) -> str:
    return (
        f"prompts from {args.dataset_name} ({args.dataset_split}): {counts['read']} rows read, {counts['kept']} kept; "
        f"dropped {counts['empty_prompt']} with an empty prompt, {counts['no_answer']} without an answer (empty or "
        f"missing \\boxed{{}}), {counts['too_long']} longer than {args.max_prompt_length} tokens; "
        f"{counts['over_limit']} left out by max_train_samples"
    )
