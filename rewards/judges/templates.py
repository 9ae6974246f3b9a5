"""Templates of the generative judges: what a judge reads, filled in and turned into token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewards.frozen.encoding import encode_prompt
from rewards.frozen.messages import check_messages, conversation_text, judged_text

FOLDER = Path(__file__).parent / "prompts"
PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Template:
    """A judge's prompt with placeholders such as `{prompt}`, each replaced literally and in one pass: braces within
    what a model wrote are text.

    The wording of `prompts/*.txt` is this project's own. The paper's is not known, so figures of generative
    judges are comparable between models under one template, not with published ones.

    Args:
        path: a text file, which is one user's message; its last line break is not part of the prompt. Or a .json file
            of chat messages, for a judge that is shown examples; a last one of the assistant's begins the answer.
        fields: the placeholders that it must have, and no others.

    Raises:
        ValueError: a placeholder is missing or unknown, or a .json file holds no chat messages of text.
    """

    def __init__(self, path: str | Path, fields: Sequence[str]):
        self.path = Path(path)
        text = self.path.read_text(encoding="utf-8")
        chat = self.path.suffix == ".json"
        self.messages = _read_messages(self.path, text) if chat else [{"role": "user", "content": text.rstrip()}]
        found = {name for message in self.messages for name in PLACEHOLDER.findall(message["content"])}
        if found != set(fields):
            raise ValueError(
                f"Template {path} must have the placeholders {', '.join(f'{{{name}}}' for name in fields)} and no "
                f"others: missing {sorted(set(fields) - found)}, unknown {sorted(found - set(fields))}."
            )

    @property
    def text(self) -> str | None:
        """The template, if it is a text."""
        return None if self.path.suffix == ".json" else self.messages[0]["content"]

    def fill_messages(self, **texts: str) -> list[dict]:
        """The messages with each placeholder replaced by the text of its name."""
        return [
            {**message, "content": PLACEHOLDER.sub(lambda match: texts[match[1]], message["content"])}
            for message in self.messages
        ]

    def fill(self, **texts: str) -> str:
        """The filled template as one text.

        Raises:
            ValueError: it is one of several chat messages, or its only one is not the user's.
        """
        if [message["role"] for message in self.messages] != ["user"]:
            raise ValueError(f"Template {self.path} must be a text here: chat messages are for judges.")
        return self.fill_messages(**texts)[0]["content"]

    def fill_for(
        self, clean: Callable[[str], str], prompt: str | list[dict], **responses: str | list[dict]
    ) -> list[dict]:
        """The filled template of what `encode` takes, each text passed through `clean` first."""
        texts = {"prompt": conversation_text(prompt)} | {k: judged_text(r) for k, r in responses.items()}
        return self.fill_messages(**{name: clean(text) for name, text in texts.items()})

    def encode(
        self,
        tokenizer,
        prompt: str | list[dict],
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **responses: str | list[dict],
    ) -> list[int]:
        """Token ids of the filled template, by `encode_prompt`: through the chat template (without a thinking phase
        where that can be switched off), or a text as it stands if the tokenizer has none.

        Args:
            prompt: a str, or chat messages, which the judge reads as text with the roles named.
            chat_template_kwargs: variables for the judge's chat template, over `enable_thinking: false`.
            responses: by placeholder, each a str or the assistant's message(s).
        """
        filled = self.fill_for(lambda text: defuse(tokenizer, text), prompt, **responses)
        if tokenizer.chat_template is None and self.path.suffix != ".json":
            return encode_prompt(tokenizer, filled[0]["content"])
        reads = "enable_thinking" in tokenizer.get_chat_template()
        variables = {**({"enable_thinking": False} if reads else {}), **(chat_template_kwargs or {})}
        return encode_prompt(tokenizer, filled, chat_template_kwargs=variables)


def _read_messages(path: Path, text: str) -> list[dict]:
    """The chat messages of a .json template."""
    try:
        messages = check_messages(json.loads(text))
        if all(isinstance(message.get("content"), str) for message in messages):
            return messages
        problem = "a message without a text"
    except (ValueError, TypeError) as error:  # no JSON is a ValueError too
        problem = str(error)
    raise ValueError(
        f"Template {path} must be a JSON list of chat messages, each with a role and a text as content: {problem}"
    )


def special_tokens(tokenizer) -> dict[int, str]:
    """Every special token by its id, those without a role of their own included."""
    return {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}


def defuse(tokenizer, text: str) -> str:
    """`text` with every special token spelt in it (such as `<|im_end|>`) broken by a space after its first character.

    A response that could end its own turn and begin the judge's would write its own verdict.
    """
    tokens = sorted(special_tokens(tokenizer).values(), key=len, reverse=True)
    return break_tokens(re.compile("|".join(map(re.escape, tokens))), text) if tokens else text


def break_tokens(tokens: re.Pattern, text: str) -> str:
    """`text` with a space after the first character of each match."""
    return tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def answer_ids(tokenizer, prompt_ids: Sequence[int], answers: Sequence[str]) -> list[int]:
    """The one token of each answer at the position after a prompt.

    A word is spelt with a space before it (" Yes") after a character, and without ("Yes") after white space or the
    special token that begins a turn. Where that is no single token for every answer, the other spelling is tried.

    Raises:
        ValueError: no spelling is one token for every answer.
    """
    fresh = prompt_ids[-1] in special_tokens(tokenizer) or tokenizer.decode(prompt_ids[-1:])[-1:].isspace()
    for space in ("", " ") if fresh else (" ", ""):
        ids = [tokenizer(space + answer, add_special_tokens=False)["input_ids"] for answer in answers]
        # an unknown word is one token too, but decodes to another text
        if all(len(i) == 1 and tokenizer.decode(i).strip() == answer for i, answer in zip(ids, answers)):
            return [i[0] for i in ids]
    raise ValueError(
        f"{' and '.join(map(repr, answers))} are not one token each for the tokenizer of {tokenizer.name_or_path!r}: "
        "name answers that are, and a template that asks for them, or use a judge with another tokenizer."
    )
