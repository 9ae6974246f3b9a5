"""One interface for what generative judges ask of a language model: log-probabilities of a few answers, or a text.

`LocalJudge` asks a model in this process, `EndpointJudge` (endpoint_judge.py) one behind an OpenAI-compatible server.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.messages import read_template_kwargs
from rewards.judges.generation import generate_greedily
from rewards.judges.templates import Template, answer_ids

PROMPT_END = 16  # tokens at the end of a question, among which "<think>" is looked for


class Judge(ABC):
    """A language model that is asked questions. A question is a dict with a text, or chat messages, for every
    placeholder of its template; `prompt` is read with the roles named.

    Attributes:
        base, tokenizer, max_positions: of a model in this process, else None.
        chat_template_kwargs: variables for its chat template that it was given, over `enable_thinking: false`.
        lent: those of the training that it judges for, which it takes if it was given none.
    """

    base: FrozenBase | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    lent: Mapping[str, Any] | None = None

    @property
    def max_positions(self) -> int | None:
        return None

    @abstractmethod
    def log_probs(
        self, template: Template, questions: Sequence[dict], answers: Sequence[str], progress: bool = False
    ) -> Tensor:
        """Log-probability of each answer right after each question: (questions, answers) fp32 on the CPU, in nats,
        normalised over the whole vocabulary; NaN where the judge gave none and is allowed to."""

    @abstractmethod
    def write(
        self, template: Template, questions: Sequence[dict], max_new_tokens: int, progress: bool = False
    ) -> list[str | None]:
        """What the judge writes after each question, taking the most likely token each time; None where it gave
        nothing and is allowed to."""

    def lend_variables(self, chat_template_kwargs: Mapping[str, Any]) -> None:
        """Keep a training's variables for chat templates, for a judge that was given none of its own; but a policy
        that thinks makes no judge that does, since the answer is read from the first token."""
        self.lent = {k: v for k, v in chat_template_kwargs.items() if k != "enable_thinking"}

    @property
    def variables(self) -> Mapping[str, Any] | None:
        """For its chat template: its own, or those that it was lent."""
        return self.lent if self.chat_template_kwargs is None else self.chat_template_kwargs

    def take_metrics(self) -> dict[str, float]:
        """What is worth logging of the questions since this was last called."""
        return {}


class LocalJudge(Judge):
    """A causal LM in this process.

    Args:
        model: a frozen base, or a causal LM of transformers, which can `write` whatever its architecture. `write`
            needs whole weights on each process.
        tokenizer: its tokenizer.
        batch_tokens: padded tokens in one batch; a frozen base has its own.
        chat_template_kwargs: variables for its chat template; see `Template.encode`.
    """

    tokenizer: PreTrainedTokenizerBase

    def __init__(
        self,
        model: FrozenBase | PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_tokens: int = 8192,
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
    ):
        self.base = model if isinstance(model, FrozenBase) else None
        self.model: Any = model.model if isinstance(model, FrozenBase) else model.eval()  # wrapped in whatever way
        self.batch_tokens = self.base.batch_tokens if self.base else batch_tokens
        self.tokenizer = tokenizer
        if chat_template_kwargs is not None:
            self.chat_template_kwargs = read_template_kwargs(chat_template_kwargs)

    @property
    def max_positions(self) -> int | None:
        if self.base is not None:
            return self.base.max_positions
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def encode(self, template: Template, **question) -> list[int]:
        """Token ids of a question, as `Template.encode` gives them."""
        return template.encode(self.tokenizer, chat_template_kwargs=self.variables, **question)

    def log_probs(self, template, questions, answers, progress=False) -> Tensor:
        """See `Judge.log_probs`: one forward a question, one position read, nothing generated.

        Raises:
            ValueError: an answer that is not one token, a question beyond the model's positions, NaN; see
                `FrozenBase.score`.
        """
        self.base = self.base or FrozenBase(self.model, self.batch_tokens)
        # a sharded base is asked even without a question, since the other processes wait for its forwards
        if not questions and not self.base.sharded:
            return torch.empty(0, len(answers))
        ids = [self.encode(template, **question) for question in questions]
        candidates = answer_ids(self.tokenizer, ids[0], answers) if ids else [0] * len(answers)
        with tqdm(total=len(ids), desc="judge", unit="question", disable=not progress) as bar:
            told = bar.update if progress else False
            return self.base.next_token_log_probs(ids, candidates, progress=told).cpu()

    def write(self, template, questions, max_new_tokens, progress=False) -> list[str | None]:
        """See `Judge.write`; see `generate_greedily` and `FrozenBase.writing` for errors. A `<think>` with which the
        chat template ends a question is given back with the answer, which shows whether the thoughts ended."""
        ids = [self.encode(template, **question) for question in questions]
        with contextlib.nullcontext(self.model) if self.base is None else self.base.writing() as model:
            written = generate_greedily(model, self.tokenizer, ids, max_new_tokens, self.batch_tokens, progress)
        ends = self.tokenizer.batch_decode([row[-PROMPT_END:] for row in ids])
        begun = ["<think>" if end.rstrip().endswith("<think>") else "" for end in ends]
        return [thoughts + text for thoughts, text in zip(begun, written)]
