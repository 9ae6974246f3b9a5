"""Chat messages as files hold them: what a chat template can read of them, and what a judge reads.

Contents may be text or a list of parts; a call of a tool may have no content; tools may be JSON text. What cannot be
read is refused here, since most templates would leave it out without a word.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import get_json_schema

logger = logging.getLogger(__name__)

# what `apply_chat_template` takes beside a template's variables, and of that what may well be chosen for a run
OPTIONS = {"documents", "sanitize_control_tokens"}
RESERVED = set(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters) - {"kwargs", *OPTIONS}


class Rendering(TypedDict, total=False):
    """How a prompt of chat messages is rendered, beside the messages: keyword arguments of `encode_prompt`.

    This project's trainers hand it to reward functions as the column `rendering`, a dict a response, so that whoever
    renders the policy's prompt again renders what the policy read.
    """

    tools: Sequence[dict | Callable] | None
    chat_template: str | None
    chat_template_kwargs: Mapping[str, Any] | None


@functools.cache
def say_once(message: str) -> None:
    """Log a warning, and the same one never again in this process."""
    logger.warning(message)


def rendering_of(columns: Mapping[str, Any], chat_template_kwargs: Mapping[str, Any] | str | None = None) -> Rendering:
    """How a row of a dataset is rendered: its columns `tools` and `chat_template_kwargs`, if it has them, the latter
    over those of the run.

    Raises:
        ValueError: a column that cannot be read; see `read_tools` and `read_template_kwargs`.
    """
    run, own = read_template_kwargs(chat_template_kwargs), read_template_kwargs(columns.get("chat_template_kwargs"))
    rendering: Rendering = {}
    if tools := read_tools(columns.get("tools")):
        rendering["tools"] = tools
    if both := {**run, **own}:
        rendering["chat_template_kwargs"] = both
    return rendering


def with_variables(rendering: Rendering | None, chat_template_kwargs: Mapping[str, Any]) -> Rendering:
    """A rendering whose variables are overruled by others."""
    rendering = rendering or {}
    if not chat_template_kwargs:
        return rendering
    return {
        **rendering,
        "chat_template_kwargs": {**(rendering.get("chat_template_kwargs") or {}), **chat_template_kwargs},
    }


def read_template_kwargs(value: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Variables for a chat template, from a dict or that as JSON. None is no value: it is what a table holds where a
    row has no such variable.

    Raises:
        ValueError: something else, or a name that is not the template's to read.
    """
    if isinstance(value, str):
        value = _from_json(value, "chat_template_kwargs", '{"enable_thinking": false}')
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(
            "chat_template_kwargs must be a dict of a chat template's variables, such as "
            f'{{"enable_thinking": false}}, got {value!r}: correct it, or rename a column that means something else.'
        )
    if taken := sorted(RESERVED & set(value)):
        raise ValueError(
            f"chat_template_kwargs cannot set {', '.join(taken)}, which are the renderer's own: leave them out, and "
            "name only variables of the chat template, such as enable_thinking."
        )
    return {name: v for name, v in value.items() if v is not None}


def read_tools(value: Sequence[dict | Callable] | str | None) -> list[dict | Callable] | None:
    """Tools for a chat template, from a list of JSON schemas or functions or that as JSON; None where there are none.
    Keys that a table filled up with None are taken out.

    Raises:
        ValueError: anything else.
    """
    given = value
    if isinstance(value, str):
        value = _from_json(value, "tools", '[{"type": "function", "function": {"name": "f", "parameters": {}}}]')
    if not value:
        return None
    if isinstance(value, (str, Mapping)) or not all(isinstance(v, Mapping) or callable(v) for v in value):
        raise ValueError(
            "tools must be a list of JSON schemas, such as "
            '[{"type": "function", "function": {"name": "f", "parameters": {}}}], or that as JSON, got '
            f"{str(value)[:200]}: correct it, or rename a column that means something else."
        )
    if isinstance(given, str):
        return list(value)  # text has no null but its author's
    return [without_none(tool) if isinstance(tool, Mapping) else tool for tool in value]


def _from_json(text: str, what: str, example: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{what} is not JSON ({error}): write it as {example}, or rename a column that means something else."
        ) from error


def without_none(value: Any) -> Any:
    """A nested structure without the keys whose value is None, which a table adds where rows have different ones, and
    which a template would show. It is said once that there were any."""
    from trl.trainer.utils import remove_none_values  # here, because it takes seconds that most users never need

    cleaned = remove_none_values(value)
    if cleaned != value:
        say_once(
            "Keys without a value are taken out of tools and their calls: a table puts them where rows have different "
            "keys. To keep a null of your own, give tools, or the arguments of a call, as JSON text."
        )
    return cleaned


def content_text(message: Mapping[str, Any]) -> str:
    """The text of a message: its content as it stands, or its parts one after the other; none for a call of a tool.

    Raises:
        ValueError: a part that is no text, or another content.
    """
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise ValueError(f"The content of a message must be text or a list of parts of text, got {content!r}.")
    texts = [part if isinstance(part, str) else _text_of(part) for part in content]
    return "".join(texts)


def _text_of(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else None
    kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
    if kind != "text" or not isinstance(text, str):
        raise ValueError(
            f"A message has a part of type {kind!r}, and only text is read: leave such parts out, or drop the row."
        )
    return text


def check_messages(messages: Sequence) -> list[dict[str, Any]]:
    """Messages without the keys that a table filled up with None.

    Raises:
        ValueError: what is no message, has no content though it calls no tool, or has a content that is no text; the
            message says which.
    """
    checked = []
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(
                f"Message {i} of a prompt must be a dict with 'role' and 'content', got {str(message)[:200]}."
            )
        if message.get("content") is None and not message.get("tool_calls"):
            raise ValueError(
                f"Message {i} of a prompt (role {message['role']!r}) has no content and calls no tool: fill it in, or "
                "drop the row."
            )
        try:
            content_text(message)
        except ValueError as error:
            raise ValueError(f"Message {i} of a prompt (role {message['role']!r}): {error}") from error
        nested = {k: without_none(v) for k, v in message.items() if isinstance(v, (list, dict)) and k != "content"}
        checked.append({k: v for k, v in {**message, **nested}.items() if v is not None})
    if not checked:
        raise ValueError("A prompt has no messages: give it one, or drop the row.")
    return checked


def with_read_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose calls of tools have their arguments as a dict, where they are JSON text, as OpenAI has them."""
    calls = message.get("tool_calls")
    return message if not calls else message | {"tool_calls": [_with_read_arguments(call) for call in calls]}


def _with_read_arguments(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _with_read_arguments(call["function"])}
    try:
        read = json.loads(call["arguments"]) if isinstance(call.get("arguments"), str) else None
    except json.JSONDecodeError:  # what a model wrote need not be JSON
        read = None
    return {**call, "arguments": read} if isinstance(read, dict) else call


def calls_text(message: Mapping[str, Any]) -> str:
    """The calls of tools in a message for a judge to read, a line of JSON each; empty if it calls none."""
    calls = [call.get("function") or call for call in with_read_arguments(dict(message)).get("tool_calls") or ()]
    shown = [{"name": call.get("name"), "arguments": call.get("arguments")} for call in calls]
    return "\n".join(f"Tool call: {json.dumps(call, ensure_ascii=False)}" for call in shown)


def said(message: Mapping[str, Any]) -> str:
    """What a message says and calls, for a judge to read."""
    return "\n".join(text for text in (content_text(message), calls_text(message)) if text)


def response_text(response: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a response given as str or as the assistant's message(s)."""
    if isinstance(response, str):
        return response
    # a call of a tool may have no content, and what the tool says is no part of the response
    return "".join(content_text(m) for m in response if m.get("role", "assistant") == "assistant")


def judged_text(response: str | Sequence[Mapping[str, Any]]) -> str:
    """A response as a judge reads it: `response_text` with the tools that it calls."""
    if isinstance(response, str):
        return response
    turns = [m for m in response if m.get("role", "assistant") == "assistant"]
    return ("\n" if any(m.get("tool_calls") for m in turns) else "").join(map(said, turns))


def conversation_text(prompt: str | Sequence[Mapping[str, Any]]) -> str:
    """A prompt as text for a judge to read: a str as it stands, chat messages with their roles named."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role'].capitalize()}: {said(message)}" for message in prompt)


def with_tools(prompts: Sequence, renderings: Sequence[Rendering] | None) -> list:
    """Prompts for a judge to read, who is shown the tools that the policy was offered, first of all messages.

    Args:
        renderings: of each prompt, as the column `rendering` has them; None for no tools.
    """
    if renderings is None:
        return list(prompts)
    return [_with_tools(p, how.get("tools")) for p, how in zip(prompts, renderings, strict=True)]


def _with_tools(prompt, tools: Sequence[dict | Callable] | None):
    if not tools or isinstance(prompt, str):
        return prompt
    schemas = [tool if isinstance(tool, Mapping) else get_json_schema(tool) for tool in tools]
    shown = "\n".join(json.dumps(schema, ensure_ascii=False) for schema in schemas)
    return [{"role": "tools", "content": shown}, *prompt]
