r"""What RLPR and VeriFree share: how probable the right answer is where a response gives its own.

A response is cut before its answer, which leaves its reasoning z; the reference answer y* takes the answer's place,
and a model says how probable each of its tokens is:

    p_i = pi(y*_i | prompt, z, y*_<i)

One forward of its own a rollout, since no response holds these tokens. z and y* are tokenised apart.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from rewards.answers import box_start, last_boxed
from rewards.frozen.encoding import check_lists, encode_prompt, encode_response, response_text
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.loading import FromFrozenBase
from rewards.frozen.messages import Rendering, read_template_kwargs, with_variables

BOX = r"\boxed{"


class ReferenceProbability(FromFrozenBase):
    r"""A reward function on the probability of the reference answer; None where a row has no reference, and 0 for a
    response that gives no answer (their share is logged as `<name>/no_answer`).

    Args:
        base: the frozen base that scores, or None inside this project's trainers, which lend theirs.
        tokenizer: its tokenizer.
        column: the dataset's column with the reference: an answer alone, or a worked solution whose last box has it.
        answer: where a response's answer is: "boxed", after its last ``\boxed{``, or a regular expression, whose last
            match (its first group, if it has one) is the answer.
        online: the policy itself scores, as it stands; inside this project's trainers only.
        progress: show a progress bar while scoring.
        chat_template_kwargs: variables for the chat template, such as {"enable_thinking": False}; inside this
            project's trainers, over those of the run.

    Raises (when called):
        ValueError: the dataset has no such column, or there is no base.
    """

    __name__: str

    def __init__(
        self,
        base: FrozenBase | None = None,
        tokenizer=None,
        *,
        column: str = "solution",
        answer: str = "boxed",
        online: bool = False,
        progress: bool = False,
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
    ):
        if online and (base is not None or chat_template_kwargs):
            raise ValueError(
                f"{self.__name__}: online means that the policy scores what it was asked itself: leave base, model "
                "and chat_template_kwargs out."
            )
        self.base, self.tokenizer, self.column, self.online, self.progress = base, tokenizer, column, online, progress
        self.chat_template_kwargs = read_template_kwargs(chat_template_kwargs)
        self.pattern = None if answer == "boxed" else re.compile(answer)

    @abstractmethod
    def rewards(self, prompt_ids: list, reasoning_ids: list, answer_ids: list) -> list[float]:
        """The reward of each response, from unpadded lists of token ids of its prompt, reasoning and reference."""

    def __call__(
        self,
        prompts,
        completions,
        completion_ids=None,
        log_metric=None,
        rendering: Sequence[Rendering] | None = None,
        **columns,
    ) -> list[float | None]:
        """TRL's reward-function interface: one probability per completion, 0 to 1. The column `rendering` says how the
        policy's prompt was rendered."""
        if self.base is None:
            raise ValueError(
                f"{self.__name__} has no model to score with: build it with from_pretrained(name_or_path), or give it "
                "to this project's trainers, which lend it theirs."
            )
        if self.column not in columns:
            raise ValueError(f"{self.__name__} needs the column {self.column!r} with the answers: set column.")
        check_lists(prompts, completions)
        references = [self._reference(text) for text in columns[self.column]]
        reasoning = [self.reasoning(response_text(completion)) for completion in completions]
        given = {i: z for i, z in enumerate(reasoning) if z is not None and references[i]}
        how = [with_variables(row, self.chat_template_kwargs) for row in rendering or [{}] * len(prompts)]
        scored = self.rewards(
            [encode_prompt(self.tokenizer, prompts[i], **how[i]) for i in given],
            [encode_response(self.tokenizer, z, append_eos=False) for z in given.values()],
            [encode_response(self.tokenizer, references[i], append_eos=False) for i in given],
        )
        if log_metric is not None and reasoning:
            log_metric(f"{self.__name__}/no_answer", reasoning.count(None) / len(reasoning))
        rewards: list[float | None] = [0.0 if reference else None for reference in references]
        for i, reward in zip(given, scored):
            rewards[i] = reward
        return rewards

    def reasoning(self, response: str) -> str | None:
        """A response up to its answer, None if it gives none."""
        if self.pattern is None:
            start = box_start(response)
        else:
            found = list(self.pattern.finditer(response))
            start = found[-1].start(1 if self.pattern.groups else 0) if found else None
        return None if start is None else response[:start]

    def token_log_probs(self, contexts: Sequence[list[int]], answers: Sequence[list[int]]) -> list[Tensor]:
        """log p_i of each answer's tokens after its context, (T_i,) fp32 nats on the CPU, at temperature 1."""
        base = cast(FrozenBase, self.base)  # a call has refused to go on without one
        scores = base.score(contexts, answers, progress=self.progress)
        # one transfer for all rows
        return list(torch.cat([s.log_probs for s in scores]).cpu().split(list(map(len, answers)))) if scores else []

    def _reference(self, text) -> str:
        text = "" if text is None else str(text)
        boxed = last_boxed(text) if self.pattern is None else None
        return text.strip() if boxed is None else boxed
