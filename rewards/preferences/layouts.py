"""The layouts of preference files, declared: which column asks, which hold responses, what says which one is better.

`LAYOUTS` is the table, and its order is that in which a file's columns are compared with it. The layouts follow the
datasets' cards; what is not in the table is read by naming its columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rewards.preferences.messages import LeftOut, conversation, decoded, is_conversation
from rewards.preferences.responses import (
    MERGED,
    RANKS,
    SCORES,
    Read,
    Verdict,
    arena,
    best_first,
    by_prompt,
    decoded_conversation,
    has_listed,
    higher,
    listed,
    named,
    number_of,
    one_of,
    parallel,
    sides,
    strength,
    summaries,
    turns_as_texts,
    two,
)

# the first that is there asks, unless a layout names its own
PROMPTS: tuple[str, ...] = ("prompt", "question", "query", "instruction", "problem", "history", "context")
PROMPTS += ("conversations", "conversation", "trajectory", "messages", "input")
SYSTEMS = ("system", "system_prompt")
NAMED = "the columns named"
SURE_PROMPTS = ("prompt", "conversations")  # the others give way to the turns that responses bring along
# what some files say of the two sides beside them
SIDE_SCORES = [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")]
SIDE_SCORES += [(a.format("chosen"), a.format("rejected")) for a in ("{}-rating", "{}_avg_rating", "rating_{}")]


@dataclass(frozen=True)
class Layout:
    """One kind of preference file.

    Attributes:
        name: of a collection that has it.
        columns: which all must be there.
        read: the responses of a row and their scores, given the column (or within lists the field) that judges.
        label: that column, where there is one.
        within: what judges is a field within lists.
        prompts: columns of which the first that is there asks; none where the responses bring the prompt along.
        optional: columns that are read where they are there.
        fits: a condition on a row, beside its columns.
        prepare: makes rows with several responses out of a file's rows.
    """

    name: str
    columns: tuple[str, ...]
    read: Read
    label: str | None = None
    within: bool = False
    prompts: tuple[str, ...] = PROMPTS
    optional: tuple[str, ...] = ()
    fits: Callable[[dict], bool] = lambda row: True
    prepare: Callable[[list[dict]], list[dict]] = lambda rows: rows


def _two(name: str, first: str, second: str, label: str, prompt: str, verdict: Verdict | None = None) -> Layout:
    read = two(first, second, verdict or named(first, second))
    return Layout(name, (first, second, label), read, label, prompts=(prompt, *PROMPTS))


def _listed(name: str, column: str) -> Layout:
    return Layout(name, (column,), listed(column), within=True, fits=has_listed(column))


def _parallel(responses: str, scores: str) -> Layout:
    return Layout("a list of responses and one of scores", (responses, scores), parallel(responses, scores), scores)


def _sides(name: str, chosen: str, rejected: str, prompts: tuple[str, ...] = PROMPTS) -> Layout:
    return Layout(name, (chosen, rejected), sides(chosen, rejected), prompts=prompts)


_SHP = one_of({"1": 1.0, "0": -1.0})
_WEBGPT = two("answer_0", "answer_1", higher("score_0", "score_1"))
_ARENA_55K = ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie")
_SIDES = (
    # hh-rlhf, UltraFeedback binarized, RewardBench, RM-Bench, Skywork, TRL, LLaMA-Factory (alpaca and sharegpt)
    _sides("chosen and rejected", "chosen", "rejected"),
    _sides("chosen_response and rejected_response", "chosen_response", "rejected_response"),
    _sides("chosen and reject", "chosen", "reject"),
    _sides("StackExchange paired", "response_j", "response_k"),
    _sides("OpenAI", "preferred_output", "non_preferred_output"),
    _sides("ms-swift", "messages", "rejected_response", ()),
    _sides("ms-swift", "messages", "rejected_messages", ()),
)
LAYOUTS = (
    *_SIDES,
    _two("SHP", "human_ref_A", "human_ref_B", "labels", "history", _SHP),
    _two("SafeRLHF", "response_0", "response_1", "better_response_id", "prompt"),  # or safer_response_id
    Layout(
        "Chatbot Arena",
        ("conversation_a", "conversation_b", "winner"),
        arena,
        "winner",
        prompts=(),
        optional=("turn",),
    ),
    Layout("Chatbot Arena (55k)", _ARENA_55K, turns_as_texts, prompts=()),
    _two("WSDM Cup", "response_a", "response_b", "winner", "prompt"),
    _two("JudgeBench", "response_A", "response_B", "label", "question"),
    _two("HelpSteer2", "response_1", "response_2", "preference_strength", "prompt", strength),
    _two("HelpSteer3", "response1", "response2", "overall_preference", "context", strength),
    _two("AlpacaFarm", "output_1", "output_2", "preference", "instruction"),
    Layout("WebGPT", ("answer_0", "answer_1", "score_0", "score_1"), _WEBGPT, prompts=("question",)),
    Layout("summarize_from_feedback", ("info", "summaries", "choice"), summaries, prompts=("info",)),
    _listed("UltraFeedback", "completions"),
    _listed("Nectar", "answers"),
    _listed("a list of responses with scores", "responses"),
    *(_parallel(a, b) for a in ("responses", "generations") for b in ("scores", "ratings", "rewards", "ranks")),
    Layout(
        "HelpSteer",
        ("prompt", "response"),
        listed(MERGED),
        within=True,
        prompts=("prompt",),
        optional=(*SCORES, *RANKS),
        fits=lambda row: any(number_of(row.get(field)) is not None for field in (*SCORES, *RANKS)),
        prepare=by_prompt,
    ),
    Layout(
        "LLaMA-Factory (both in output)",
        ("instruction", "output"),
        best_first,
        fits=lambda row: isinstance(row.get("output"), list),
    ),
)


def find_layout(
    rows: list[dict], name: str, chosen: str | None = None, rejected: str | None = None, label: str | None = None
) -> Layout:
    """The layout of a file: that of the columns named, else the first of LAYOUTS whose columns are there.

    Raises:
        ValueError: there is none. The message says which columns are there and how to name them.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if chosen or rejected:
        pair = (chosen or "chosen", rejected or "rejected")
        return Layout(NAMED, pair, two(*pair, named(*pair)) if label else sides(*pair), label)
    found = next((x for x in LAYOUTS if set(x.columns) <= set(columns) and any(map(x.fits, rows))), None)
    if found is not None and label and found in _SIDES:
        first, second = found.columns
        return Layout(NAMED, found.columns, two(first, second, named(first, second)), label)
    if found is not None and label and not (found.within or found.label):
        raise ValueError(
            f"{name} is read as {found.name}, which judges by {', '.join(found.columns)}. Leave --label_column out, "
            "or name --chosen_column and --rejected_column too"
        )
    if found is not None:
        return found
    absent = ", ".join(repr(column) for column in ("chosen", "rejected") if column not in columns)
    unpaired = {"completion", "label"} <= set(columns) or "kto_tag" in columns
    raise ValueError(
        f"{name} has no column {absent}; columns found: {', '.join(columns)}. "
        + ("Its rows hold one response with a label each, which makes no pairs. " if unpaired else "")
        + "Name them by --prompt_column, --chosen_column and --rejected_column, with --label_column where a column "
        f"says which of the two is better. Read without flags: {', '.join(dict.fromkeys(x.name for x in LAYOUTS))}"
    )


def asked(row: dict, column: str) -> str | list[dict] | None:
    """The prompt in a cell: text, or messages. A list of texts is turns, of which the first and last are the user's.

    An `instruction` goes with its `input` and with the rounds of its `history`, as LLaMA-Factory reads it. Of an
    object it is what it holds as messages, full_text, post, article or text.

    Raises:
        ValueError: anything else.
        LeftOut: turns that end with the assistant's.
    """
    cell = decoded_conversation(row.get(column))
    if isinstance(cell, dict):
        held = [cell[k] for k in ("messages", "full_text", "post", "article", "text") if cell.get(k)]
        cell = held[0] if held else cell
    if column == "instruction" and isinstance(cell, str):
        if isinstance(row.get("input"), str) and row["input"].strip():
            cell = f"{cell}\n{row['input']}" if cell.strip() else row["input"]
        rounds = decoded(row.get("history"))
        if isinstance(rounds, list) and rounds:
            cell = [text for turn in rounds for text in turn] + [cell]
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, list) and cell and all(isinstance(text, str) for text in cell):
        cell = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(cell)]
        if len(cell) % 2 == 0:
            raise LeftOut("a prompt of several texts, in turns, that do not end with the user's")
    if not is_conversation(cell):
        raise ValueError(
            f"column {column!r} must hold text or messages with 'role' and text 'content'; found {str(cell)[:200]}"
        )
    return conversation(cell, column)
