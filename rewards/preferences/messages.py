"""Chat messages and transcripts as preference files hold them, brought into one form, and prompts out of both.

TRL's `extract_prompt` takes what both sides begin with. That is right for two conversations that differ in their last
message alone. It is not for texts, where the common beginning ends within a word of the responses; nor for histories
that contradict each other, where turns of the user stay within the responses; nor does it look at a prompt column
beside conversations. `maybe_convert_to_chatml` renames keys but leaves the roles "human" and "gpt" and changes the row
in place. Hence the functions here.
"""

from __future__ import annotations

import json
import re
from typing import Any

ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "ai", "bot", "model", "function_call"),
    "tool": ("tool", "function", "observation", "ipython", "function_response"),
}
ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value")
KEPT_KEYS = ("name", "tool_calls", "tool_call_id", "reasoning_content")  # what chat templates read beside the text
CONTRADICT, CONTRADICTS = "the histories of the responses contradict each other", "the history contradicts the prompt"
UNFINISHED = "a conversation must end with the assistant's turn"
_ROLE_OF = {alias: role for role, aliases in ROLES.items() for alias in aliases}
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_MARKED = re.compile(r"\s*<extra_id_1>(User|Assistant)\s*")
_PYTHON = re.compile(rf"\s*\[\s*\{{'(?:{'|'.join((*ROLE_KEYS, *CONTENT_KEYS))})'\s*:")
# what stands between the turns where a history was written as one text: names of roles and marks of templates
_MARKS = re.compile(rf"<\|[^|<>]*\|>|</?\w+(?:_of_turn)?>|\[/?\w+\]|\b(?:{'|'.join(_ROLE_OF)})\b|[\W_]", re.IGNORECASE)


class LeftOut(Exception):
    """A row that cannot be compared. The text says why, in words that a count can stand before."""


def is_message(value: Any) -> bool:
    """Whether it is one chat message, of keys role and content or from and value."""
    return isinstance(value, dict) and any(k in value for k in ROLE_KEYS) and any(k in value for k in CONTENT_KEYS)


def is_conversation(value: Any) -> bool:
    """Whether it is a list of one or more chat messages."""
    return isinstance(value, list) and bool(value) and all(map(is_message, value))


def decoded(value: Any) -> Any:
    """What a JSON text of a list or an object holds, as CSV files keep conversations; anything else as it is.

    Raises:
        LeftOut: a list of messages as Python writes it.
    """
    if not (isinstance(value, str) and value.lstrip()[:1] in ("[", "{")):
        return value
    if _PYTHON.match(value):
        raise LeftOut("messages as Python writes them, which is no JSON: save the table as Parquet or JSON Lines")
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def message(value: dict, column: str) -> dict:
    """One message as {"role", "content"}, with its calls of tools where there are any.

    Raises:
        ValueError: a role that is not known, or content that is neither text nor a list of parts.
        LeftOut: parts that are not text.
    """
    name = next(value[k] for k in ROLE_KEYS if k in value)
    role = _ROLE_OF.get(str(name).strip().lower())
    if role is None:
        raise ValueError(f"column {column!r}: unknown role {name!r}; known: {', '.join(_ROLE_OF)}. Rename it")
    content = next((value[k] for k in CONTENT_KEYS if value.get(k) is not None), "")
    if isinstance(content, list):
        content = _text_of_parts(content)
    if not isinstance(content, str):
        raise ValueError(f"column {column!r}: a message's content must be text; found {str(content)[:200]}")
    return {"role": role, "content": content} | {k: value[k] for k in KEPT_KEYS if value.get(k)}


def _text_of_parts(parts: list) -> str:
    texts = [part if isinstance(part, str) else part.get("text") for part in parts if isinstance(part, (str, dict))]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise LeftOut("messages with parts that are not text")
    return "".join(texts)  # type: ignore[arg-type]  # no None is left


def conversation(value: list, column: str) -> list[dict]:
    """`message` for each of a list."""
    return [message(m, column) for m in value]


def split_conversation(value: list, column: str) -> tuple[list[dict], str]:
    """The messages before the last one, and the text of the last, which the assistant must have written.

    Raises:
        LeftOut: somebody else has, or the response is a call of a tool without a text.
    """
    *before, last = conversation(value, column)
    if last["role"] != "assistant":
        raise LeftOut(UNFINISHED)
    if last.get("tool_calls") and not last["content"]:
        raise LeftOut("a response that is a call of a tool, without a text")
    return before, last["content"]


def split_transcript(text: str) -> tuple[str, str] | None:
    """A text of turns "\\n\\nHuman: ...\\n\\nAssistant: ..." up to and with its last "Assistant:", and what follows.

    Returns:
        None for any other text, which does not begin with "Human:" or has no turn of the assistant.

    Raises:
        LeftOut: the last turn is the human's.
    """
    turns = list(_TURN.finditer(text))
    if not turns or turns[0].start() != 0 or turns[0][1] != "Human":
        return None
    if turns[-1][1] != "Assistant":
        if len(turns) == 1:
            return None
        raise LeftOut(UNFINISHED)
    return text[: turns[-1].end()], text[turns[-1].end() :]


def is_transcript_prompt(text: str) -> bool:
    """Whether a text is turns "Human: ... Assistant: ..." of which the last one is the assistant's and still empty."""
    turns = list(_TURN.finditer(text))
    ends = bool(turns) and turns[-1][1] == "Assistant" and not text[turns[-1].end() :].strip()
    return ends and turns[0].start() == 0 and turns[0][1] == "Human"


def transcript_messages(text: str) -> list[dict]:
    """The turns of a transcript as messages, without an empty last one."""
    turns = list(_TURN.finditer(text))
    ends = [*(turn.start() for turn in turns[1:]), len(text)]
    found = [
        {"role": "user" if turn[1] == "Human" else "assistant", "content": text[turn.end() : end].strip()}
        for turn, end in zip(turns, ends)
    ]
    return found[:-1] if found and not found[-1]["content"] else found


def marked_messages(text: str) -> list[dict] | None:
    """The turns of a prompt of HelpSteer, where lines `<extra_id_1>Assistant` and `<extra_id_1>User` part them.

    Returns:
        None for any other text.
    """
    first, *others = _MARKED.split(text)
    if not others or others[-2] != "User":
        return None
    turns = [("User", first), *zip(others[::2], others[1::2])]
    return [{"role": _ROLE_OF[name.lower()], "content": content.strip()} for name, content in turns]


def one_history(histories: list[list[dict]]) -> list[dict]:
    """The history that all responses share; those that carry none share any.

    Raises:
        LeftOut: there are several.
    """
    told = [history for history in histories if history]
    if any(not _same(history, told[0]) for history in told):
        raise LeftOut(CONTRADICT)
    return told[0] if told else []


def with_history(prompt: str | list[dict] | None, history: list[dict]) -> str | list[dict] | None:
    """The prompt with all turns that were before the response.

    A history repeats the prompt, or parts of it: it begins or ends with its messages, one of its user's turns is the
    text, or the text is the whole history written out. Or it goes on where the prompt ends, if it begins with the
    assistant. A history of one user's turn that repeats a prompt of text is that text.

    Raises:
        LeftOut: the history says something else.
    """
    if not history or not prompt:
        return history or prompt
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if _same(history, asked):
        return prompt
    systems, said = _of_system(history)
    own, turns = _of_system(asked)
    if own and systems and not _same(own, systems):
        raise LeftOut(CONTRADICTS)
    if isinstance(prompt, str):
        repeated = any(m["role"] == "user" and m["content"].strip() == prompt.strip() for m in said)
        repeated = repeated or _is_text_of(prompt, history)
    else:
        repeated = _same(said[: len(turns)], turns)
    if repeated:
        return history if systems else [*own, *said]
    complete = asked if own else [*systems, *asked]
    if not said or _same(turns[-len(said) :], said):
        return complete
    if said[0]["role"] in ("assistant", "tool"):
        return [*complete, *said]
    raise LeftOut(CONTRADICTS)


def _of_system(messages: list[dict]) -> tuple[list[dict], list[dict]]:
    """Messages of the system, and the others."""
    system = [m for m in messages if m["role"] == "system"]
    return system, [m for m in messages if m["role"] != "system"]


def _same(first: list[dict], second: list[dict]) -> bool:
    def plain(messages: list[dict]) -> list[tuple]:
        return [(m["role"], m["content"].strip(), repr(m.get("tool_calls"))) for m in messages]

    return plain(first) == plain(second)


def _is_text_of(text: str, history: list[dict]) -> bool:
    """Whether a text is the history written out: its contents in their order, and between them marks of turns."""
    between, start = [], 0
    for content in (m["content"].strip() for m in history):
        found = text.find(content, start)
        if found < 0:
            return False
        between.append(text[start:found])
        start = found + len(content)
    return not _MARKS.sub("", "".join([*between, text[start:]]))
