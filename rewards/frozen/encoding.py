"""From texts and chat messages to token ids, prompt and response apart, so that a response is the same tokens whatever
the prompt. Every prompt of this project becomes ids here, in `encode_prompt`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from rewards.frozen.messages import (
    OPTIONS,
    check_messages,
    content_text,
    read_template_kwargs,
    read_tools,
    response_text,
    say_once,
    with_read_arguments,
)

END_TOKENS = ("template", "eos")
APART = ("tool_calls", "reasoning_content", "reasoning", "thinking")  # what a message says outside of its content
PROBE = "@@@"  # a content that no template has in its own words


def encode_prompt(
    tokenizer,
    prompt: str | Sequence[dict],
    system_prompt: str | None = None,
    *,
    tools: Sequence[dict | Callable] | str | None = None,
    chat_template: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | str | None = None,
) -> list[int]:
    """Token ids of a prompt, as every part of this project reads it: trainers and their filter of lengths, rewards,
    teachers, judges and the evaluation.

    A str is tokenised as it stands, with the special tokens that its tokenizer adds, but never with two BOS tokens.
    Chat messages go through the chat template exactly as TRL's trainers apply it, with the generation prompt. Where
    the last message is the assistant's it is continued (`continue_final_message`, as TRL's `apply_chat_template`
    does, while its GRPOTrainer would open a second turn).

    Args:
        prompt: contents of messages may be lists of parts of text, which are handed on to a template that reads them
            and joined for one that does not. A message that calls a tool may have no content.
        system_prompt: replaces, or adds, the system message of chat messages. For a str it is put before it, with an
            empty line between the two.
        tools: JSON schemas or functions for the template, or the schemas as JSON.
        chat_template: in place of the tokenizer's.
        chat_template_kwargs: the template's variables, e.g. `{"enable_thinking": False}`, or that as JSON.

    Raises:
        ValueError: chat messages without a chat template, messages that cannot be read or that the template refuses,
            or tools and their calls where it would leave them out.
    """
    variables, tools = read_template_kwargs(chat_template_kwargs), read_tools(tools)
    if isinstance(prompt, str):
        if given := [name for name, v in (("tools", tools), ("chat_template_kwargs", variables)) if v]:
            say_once(
                f"{' and '.join(given)} have no effect on prompts given as text, to which no chat template is "
                "applied: give chat messages, or leave them out."
            )
        return _without_eos(tokenizer, prompt, encode_text(tokenizer, prompt, system_prompt))
    messages = check_messages(prompt)
    if system_prompt:
        messages = [{"role": "system", "content": system_prompt}, *(m for m in messages if m["role"] != "system")]
    ends: dict[str, Any] = {"add_generation_prompt": True}
    if messages[-1]["role"] == "assistant":
        if messages[-1].get("tool_calls"):
            raise ValueError(
                "A prompt ends in a call of a tool, after which the policy has nothing to answer: add the tool's "
                "message, or drop the row."
            )
        ends = {"add_generation_prompt": False, "continue_final_message": True}
        say_once(
            "Prompts end in a message of the assistant's: responses continue it (continue_final_message). TRL's own "
            "GRPOTrainer would open a second turn after it; to have that, take the message out."
        )
    return _apply_template(tokenizer, messages, ends, tools, chat_template, variables)


def encode_conversation(tokenizer, messages: Sequence[dict], **rendering) -> list[int]:
    """Token ids of a whole conversation through the chat template, its end included and no generation prompt: what a
    trained reward model reads. `rendering` and errors as of `encode_prompt`."""
    tools, variables = read_tools(rendering.get("tools")), read_template_kwargs(rendering.get("chat_template_kwargs"))
    template = rendering.get("chat_template")
    return _apply_template(tokenizer, check_messages(messages), {}, tools, template, variables)


def encode_text(tokenizer, text: str, system_prompt: str | None = None) -> list[int]:
    """Token ids of a text with the special tokens that its tokenizer adds, but never with two BOS. `system_prompt`
    goes before it, with an empty line between the two."""
    bos = tokenizer.bos_token or ""
    begins = bool(bos) and text.startswith(bos)
    if system_prompt:
        text = f"{bos}{system_prompt}\n\n{text[len(bos) :]}" if begins else f"{system_prompt}\n\n{text}"
    ids = list(tokenizer(text)["input_ids"])
    if begins and ids[:2] == [tokenizer.bos_token_id] * 2:
        say_once(
            f"Prompts begin with {bos}, and the tokenizer of {tokenizer.name_or_path!r} adds one: one is kept. TRL's "
            "own trainers would read both; take it out of the prompts to be rid of this message."
        )
        ids = ids[1:]
    return ids


def _without_eos(tokenizer, text: str, ids: list[int]) -> list[int]:
    """Ids of a prompt without an end token that the tokenizer put after it."""
    eos = tokenizer.eos_token
    # a lone token is a BOS, which may be the same as the end token
    if not eos or len(ids) < 2 or ids[-1] != tokenizer.eos_token_id or text.rstrip().endswith(eos):
        return ids
    say_once(
        f"The tokenizer of {tokenizer.name_or_path!r} puts {eos} after every text, where nothing is left to answer: "
        "prompts go without it. TRL's own trainers would keep it; to be rid of this message, set add_eos_token=False."
    )
    return ids[:-1]


def _apply_template(
    tokenizer,
    messages: list[dict],
    ends: dict[str, Any],
    tools: list | None,
    chat_template: str | None,
    variables: dict[str, Any],
) -> list[int]:
    """`apply_chat_template`, after which nothing has been left out in silence."""
    name = tokenizer.name_or_path
    if chat_template is None and tokenizer.chat_template is None:
        raise ValueError(
            f"The prompt is chat messages, but the tokenizer of {name!r} has no chat template. Set "
            "tokenizer.chat_template, use a model that has one, or give the prompt as text."
        )
    how = {"tools": tools, "chat_template": chat_template, **variables}
    source = tokenizer.get_chat_template(chat_template, tools)
    if tools and "tools" not in source:
        raise ValueError(
            f"The chat template of {name!r} shows no tools, so that those of the prompts would be left out: set "
            "tokenizer.chat_template to one that does, use another model, or take the column tools out."
        )
    if "tool_calls" not in source and any(m.get("tool_calls") for m in messages):
        raise ValueError(
            f"The chat template of {name!r} shows no calls of tools, and a message of a prompt has tool_calls: set "
            "tokenizer.chat_template to one that does, use another model, or write the call into the content."
        )
    for unread in sorted(k for k in variables if k not in source and k not in OPTIONS):
        say_once(f"The chat template of {name!r} reads no {unread}: chat_template_kwargs has no effect there.")
    if re.search(r"arguments\s*\|\s*tojson", source) and "arguments is string" not in source:
        messages = [with_read_arguments(m) for m in messages]  # or it would quote JSON text once more
    if any(isinstance(m.get("content"), list) for m in messages) and not _reads_parts(tokenizer, how):
        messages = [m | {"content": content_text(m)} if "content" in m else m for m in messages]
    _check_roles(tokenizer, messages, source, how)
    try:
        return list(
            tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **how, **ends)["input_ids"]
        )
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(m["role"] for m in messages)
        advice = "correct the messages, or set tokenizer.chat_template"
        if ends.get("continue_final_message"):
            advice = "take the assistant's last message out, which cannot be continued, or give the prompt as text"
        elif messages[0]["role"] == "system":
            advice = (
                "if it takes no system message, give none (system_prompt: null in a recipe, --template chat in an "
                "evaluation) or write it into the user's message"
            )
        raise ValueError(f"The chat template of {name!r} refuses a prompt of {roles} ({error}): {advice}.") from error


_shown: set[tuple] = set()  # templates, with orders of roles and kinds of contents of which they leave none out


def _check_roles(tokenizer, messages: list[dict], source: str, how: dict[str, Any]) -> None:
    """Refuse messages of a role for which a chat template has no words, and which it would leave out.

    Raises:
        ValueError: there are such messages.
    """
    order = tuple((m["role"], isinstance(m.get("content"), list)) for m in messages)
    if (source, order) in _shown:
        return
    probes = []
    for i, message in enumerate(messages):
        probe: Any = f"{PROBE}{i}."
        if isinstance(message.get("content"), list):
            probe = [{"type": "text", "text": probe}]
        # of the assistant's earlier turns a template may well leave out the thinking
        probes.append(message if message["role"] == "assistant" else message | {"content": probe})
    try:
        text = tokenizer.apply_chat_template(probes, tokenize=False, **how)
    except (TemplateError, TypeError):
        return  # the rendering itself will say why
    lost = [role for i, (role, _) in enumerate(order) if role != "assistant" and f"{PROBE}{i}." not in text]
    if lost:
        raise ValueError(
            f"The chat template of {tokenizer.name_or_path!r} leaves out messages of role "
            f"{', '.join(map(repr, lost))}: give them a role that it knows (system, user, assistant, tool), or set "
            "tokenizer.chat_template."
        )
    _shown.add((source, order))


def _reads_parts(tokenizer, how: dict[str, Any]) -> bool:
    """Whether a chat template shows the text of a content that is a list of parts, not nothing or Python's list."""
    probe = [{"role": "user", "content": [{"type": "text", "text": PROBE}]}]
    try:
        before, found, _ = tokenizer.apply_chat_template(probe, tokenize=False, **how).partition(PROBE)
    except (TemplateError, TypeError):
        return False
    return bool(found) and before[-1:] not in ("'", '"')


def template_end(tokenizer) -> int | None:
    """Id of the token by which the chat template ends an answer: the first added or special token that it writes after
    one, such as <|im_end|>. What follows (a line break) is no part of a response. None where the tokenizer has no chat
    template, or one that writes no such token."""
    if not tokenizer.chat_template:
        return None
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": PROBE}]
    try:
        _, found, after = tokenizer.apply_chat_template(messages, tokenize=False).rpartition(PROBE)
    except (TemplateError, TypeError):
        return None
    if not found:
        return None
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    return next((i for i in tokenizer(after, add_special_tokens=False)["input_ids"] if i in special), None)


def end_token_id(tokenizer, prompt: str | Sequence[dict], end_token: str = "template") -> int:
    """The token that ends a response to a prompt.

    Args:
        end_token: "template", the one by which the chat template ends an answer to chat messages (the tokenizer's own
            end token for text, and where the template has none); or "eos", the tokenizer's own for every prompt.

    Raises:
        ValueError: there is none.
    """
    end = template_end(tokenizer) if end_token == "template" and not isinstance(prompt, str) else None
    end = tokenizer.eos_token_id if end is None else end
    if end is None:
        raise ValueError("The tokenizer has no end token: set tokenizer.eos_token, or append_eos=False.")
    return end


def encode_response(
    tokenizer,
    response: str | Sequence[dict],
    append_eos: bool,
    prompt: str | Sequence[dict] = "",
    end_token: str = "template",
) -> list[int]:
    """Token ids of a response, without the special tokens of a beginning, with the end token if `append_eos`.

    Args:
        prompt: what it responds to, which decides on the end token; see `end_token_id`.

    Raises:
        ValueError: an end token is wanted and the tokenizer has none, or the response calls tools or has thinking
            apart from its content: only the model's own text says how that is written.
    """
    for message in [] if isinstance(response, str) else response:
        if apart := [name for name in APART if message.get(name)]:
            raise ValueError(
                f"A response given as messages has {apart[0]}, whose tokens only the model that wrote them knows: "
                "give the response as the text that the model wrote, or its token ids (completion_ids)."
            )
    ids = list(tokenizer(response_text(response), add_special_tokens=False)["input_ids"])
    return [*ids, end_token_id(tokenizer, prompt, end_token)] if append_eos else ids


def check_end_token(end_token: str) -> str:
    """`end_token`, if it is one of `END_TOKENS`.

    Raises:
        ValueError: it is not.
    """
    if end_token not in END_TOKENS:
        raise ValueError(f"end_token must be one of {END_TOKENS}, got {end_token!r}.")
    return end_token


def warn_of_split(tokenizer, prompts: Sequence, responses: Sequence) -> None:
    """Say once where a text prompt ends in a space that the tokenizer would make a part of the response's first word:
    a base has hardly ever seen the two apart, and a reward is nats lower for it."""
    texts = [(p, response_text(r)) for p, r in zip(prompts, responses) if isinstance(p, str) and p.endswith(" ")]
    texts = [(p, text) for p, text in texts if text[:1].strip()]
    split = [(p, text) for p, text in texts if _apart(tokenizer, p, text) != encode_text(tokenizer, p + text)]
    if not split:
        return
    prompt, text = split[0][0].rstrip(" "), split[0][1]
    whole = encode_text(tokenizer, f"{prompt} {text}")
    # SentencePiece may put the space before a text itself
    better = next((t for t in (f" {text}", text) if _apart(tokenizer, prompt, t) == whole), f" {text}")
    say_once(
        f"{len(split)} of {len(prompts)} prompts end in a space, which the tokenizer of {tokenizer.name_or_path!r} "
        "makes a part of the word after it: split like that, the response costs reward. Instead of "
        f"{split[0][0][-20:]!r} and {text[:20]!r} give {prompt[-20:]!r} and {better[:20]!r}, or chat messages."
    )


def _apart(tokenizer, prompt: str, text: str) -> list[int]:
    return encode_text(tokenizer, prompt) + encode_response(tokenizer, text, append_eos=False)


def own_ids(completion_ids: Sequence[Sequence[int]], own_tokens: Sequence | None) -> list[Sequence[int]]:
    """The policy's own token ids of each response, without what tools or an environment said.

    Args:
        own_tokens: for each response one truth value a token, or None where all tokens are the policy's.
    """
    if own_tokens is None:
        return list(completion_ids)
    return [[i for i, own in zip(ids, mask, strict=True) if own] for ids, mask in zip(completion_ids, own_tokens)]


def check_own_tokens(completions, own_tokens, reward: str) -> None:
    """Refuse to score the tokens of a conversation without knowing which of them are the policy's.

    Raises:
        ValueError: a completion in which somebody else speaks too, and no `own_tokens`.
    """
    if own_tokens is not None or all(isinstance(c, str) for c in completions):
        return
    messages = [m for c in completions if c and not isinstance(c, str) for m in c if isinstance(m, dict)]
    if any(message.get("role", "assistant") != "assistant" for message in messages):
        raise ValueError(
            f"{reward} scores tokens, and a tool or an environment speaks in these completions: which tokens are the "
            "policy's is told by this project's trainers alone (the column own_tokens). Use one of them, or pass "
            "own_tokens."
        )


def check_lists(prompts, responses) -> None:
    """Refuse a single text in place of a list, and lists of different lengths.

    Raises:
        ValueError: naming the fix.
    """
    if isinstance(prompts, str) or isinstance(responses, str):
        raise ValueError("Give lists of prompts and responses, also for a single pair: score([prompt], [response]).")
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts but {len(responses)} responses: one response per prompt.")


def column(columns: dict, name: str, setting: str) -> list:
    """A column of the dataset, from the keyword arguments of a reward function.

    Args:
        setting: what the column's name is called among the reward's settings.

    Raises:
        ValueError: the dataset has no such column.
    """
    if name not in columns:
        raise ValueError(
            f"The dataset has no column {name!r}: set {setting} to one of "
            f"{sorted(k for k, v in columns.items() if isinstance(v, list))}, or to None."
        )
    return columns[name]


def check_same_tokenizer(tokenizer, completions, completion_ids) -> None:
    """Ids of one tokenizer mean nothing to another model; the first row's text tells the two apart.

    Raises:
        ValueError: the ids decode to another text than the completion's.
    """
    if getattr(tokenizer, "response_template", None) is not None:
        return  # the trainer parses such responses, their text is not the decoded one
    decoded = tokenizer.decode(completion_ids[0], skip_special_tokens=True)
    if decoded != response_text(completions[0]):
        raise ValueError(
            "The trainer's token ids decode to another text with the reward's tokenizer than with the policy's. Use "
            "a reward model with the policy's tokenizer, score texts with its score(), or, for a reward of a frozen "
            "base, set reward.across = CrossTokenizer(policy's tokenizer, reward.tokenizer)."
        )
