"""From texts and chat messages to token ids, prompt and response apart, so that a response is the same tokens whatever
the prompt."""

from __future__ import annotations

from collections.abc import Sequence


def encode_prompt(tokenizer, prompt: str | list[dict], system_prompt: str | None = None) -> list[int]:
    """Token ids of a prompt: a str as it stands (with the special tokens that its tokenizer adds), chat messages
    through the chat template with the generation prompt added.

    Args:
        system_prompt: replaces, or adds, the system message of chat messages. For a str it is put before it, with an
            empty line between the two.

    Raises:
        ValueError: chat messages without a chat template.
    """
    if isinstance(prompt, str):
        return tokenizer(prompt if not system_prompt else f"{system_prompt}\n\n{prompt}")["input_ids"]
    if tokenizer.chat_template is None:
        raise ValueError(
            f"The prompt is chat messages, but the tokenizer of {tokenizer.name_or_path!r} has no chat template. Set "
            "tokenizer.chat_template, use a model that has one, or give the prompt as text."
        )
    if system_prompt:
        prompt = [{"role": "system", "content": system_prompt}, *(m for m in prompt if m["role"] != "system")]
    return tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]


def response_text(response: str | list[dict]) -> str:
    """The text of a response given as str or as the assistant's message(s)."""
    if isinstance(response, str):
        return response
    # a call of a tool may have no content, and what the tool says is no part of the response
    return "".join(m.get("content") or "" for m in response if m.get("role", "assistant") == "assistant")


def encode_response(tokenizer, response: str | list[dict], append_eos: bool) -> list[int]:
    """Token ids of a response, without the special tokens of a beginning, with the end token if `append_eos`.

    Raises:
        ValueError: an end token is wanted and the tokenizer has none.
    """
    ids = list(tokenizer(response_text(response), add_special_tokens=False)["input_ids"])
    if append_eos:
        if tokenizer.eos_token_id is None:
            raise ValueError("The tokenizer has no end token: set tokenizer.eos_token, or append_eos=False.")
        ids.append(tokenizer.eos_token_id)
    return ids


def conversation_text(prompt: str | list[dict]) -> str:
    """A prompt as text for a judge to read: a str as it stands, chat messages with their roles named."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in prompt)


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
