"""Chat messages as collections write them: with role and content, or as ShareGPT with from and value."""

from __future__ import annotations

import json
from typing import Any

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class MessageError(ValueError):
    """A cell that cannot be read as messages."""


def read_messages(value: Any) -> list[dict]:
    """Messages with role and content, from a list or its JSON text; those that have both are kept as they are, and so
    are calls of tools, which need no content.

    Raises:
        MessageError: no list of messages, or an unknown speaker.
    """
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise MessageError(f"found {str(value)[:200]}") from error
    if not (isinstance(value, list) and value and all(isinstance(m, dict) for m in value)):
        raise MessageError(f"found {str(value)[:200]}")
    if all("role" in m and ("content" in m or m.get("tool_calls")) for m in value):
        return value
    if all(m.get("from") in _ROLES and "value" in m for m in value):
        return [{"role": _ROLES[m["from"]], "content": m["value"]} for m in value]
    raise MessageError(f"found {str(value)[:200]}")


def are_messages(value: Any) -> bool:
    """Whether a cell can be read as messages."""
    try:
        return bool(read_messages(value))
    except MessageError:
        return False


def without_reply(messages: list[dict]) -> tuple[list[dict], str | None]:
    """``(messages, reply)``: the last message apart, where it is the assistant's."""
    if messages and messages[-1]["role"] == "assistant":
        return messages[:-1], message_text(messages[-1])
    return messages, None


def asked(messages: list[dict]) -> tuple[str, str]:
    """``(problem, trouble)``: the text of the user's one message; trouble says why there is none."""
    turns = [m for m in messages if m["role"] != "system"]
    if len(turns) != 1 or turns[0]["role"] != "user":
        return message_text(turns[-1]) if turns else "", "more than one turn" if turns else "no message of the user"
    content = turns[0].get("content")
    if isinstance(content, list) and any(isinstance(part, dict) and part.get("type") != "text" for part in content):
        return message_text(turns[0]), "parts that are no text"
    return message_text(turns[0]), ""


def message_text(message: dict) -> str:
    """A message's text: its content, or the text among the parts of its content."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
