"""GenRM-pairwise: a language model says which of two responses is better, asked in both orders.

The verdict is read from the logits of "A" and "B" at one position: deterministic, nothing is generated, nothing can be
unparsable. With `reason_tokens` the judge writes its reasons first and then its verdict, which may be a tie. A judge
that contradicts itself when the two change places knows no better one: that is a tie too.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rewards.frozen.encoding import check_lists
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.messages import with_tools
from rewards.judges.judge import Judge
from rewards.judges.judge_reward import JudgeReward, as_judge
from rewards.judges.templates import FOLDER, Template
from rewards.judges.verdicts import VERDICT_TOKENS, check_reason_tokens, parse_choice

logger = logging.getLogger(__name__)

TIE = "tie"
POINTS = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5)}


class PairwiseJudge(JudgeReward):
    """Verdicts on pairs, and win rates within groups of responses to one prompt. It has no score for one response.

    Args:
        base: the frozen base that judges, or another judge (see `rewards.judges.judge`), or None inside this project's
            trainers, which lend it theirs.
        tokenizer: the base's tokenizer.
        template: file with `{prompt}`, `{response_a}` and `{response_b}`; default `judges/prompts/pairwise.txt`, or
            with `reason_tokens` `pairwise_reasons.txt`.
        answers: what stands for the response shown first and second; each must be one token where logits are read.
        reason_tokens: the most tokens of reasons, or of thoughts where the judge's template is told `enable_thinking`,
            that the judge writes greedily before its verdict ("[[A]]", "[[B]]" or "[[tie]]"), for which it has
            `VERDICT_TOKENS` more; 0 reads logits.
        progress: show a progress bar.

    Attributes:
        asked: questions answered so far, two a pair.
        unparsable: those whose answer has no verdict, which no logits are.
        first_wins: those answered in favour of the response shown first; equal logits and ties count half.
    """

    __name__ = "pairwise_judge"
    unparsable = 0  # also of a judge that overrides `compare` and counts for itself

    def __init__(
        self,
        base: FrozenBase | Judge | None = None,
        tokenizer=None,
        *,
        template: str | Path | None = None,
        answers: tuple[str, str] = ("A", "B"),
        reason_tokens: int = 0,
        progress: bool = False,
    ):
        self.reason_tokens = check_reason_tokens(reason_tokens)
        default = FOLDER / ("pairwise_reasons.txt" if reason_tokens else "pairwise.txt")
        self.template = Template(template or default, ("prompt", "response_a", "response_b"))
        self.judge = as_judge(base, tokenizer)
        self.answers, self.progress = answers, progress
        self.asked, self.first_wins = 0, 0.0

    @property
    def position_bias(self) -> float | None:
        """Share of verdicts so far for the response shown first, a tie being half of one: 0.5 is unbiased, and 1.0 a
        judge that reads nothing. None before the first verdict."""
        parsed = self.asked - self.unparsable
        return self.first_wins / parsed if parsed else None

    @property
    def budget(self) -> int:
        """The most tokens of an answer: one where logits are read."""
        return self.reason_tokens + VERDICT_TOKENS if self.reason_tokens else 1

    def tokens(self, prompt, first, second) -> int:
        """How many of the model's positions it takes to compare two responses, in the longer of the two orders."""
        pairs = ((first, second), (second, first))
        return self.budget + max(
            self.question_tokens(self.template, prompt=prompt, response_a=a, response_b=b) for a, b in pairs
        )

    def compare(self, prompts: Sequence, first: Sequence, second: Sequence) -> list[str | None]:
        """Which response of each pair is better: "first", "second" or "tie". Both orders are asked; None where one of
        the two answers has no verdict, or an endpoint gave none and is allowed to.

        Args:
            prompts: str or chat messages, read by the judge as text with the roles named.
            first, second: the two responses to each prompt, str or the assistant's chat messages.

        Raises:
            ValueError: an answer that is not one token, a judge prompt beyond the model's positions, NaN; see
                `FrozenBase.score`.
            JudgeUnavailable: see `EndpointJudge`.
        """
        check_lists(prompts, first)
        check_lists(prompts, second)
        ask = self._written if self.reason_tokens else self._preferences
        forth, back = ask(prompts, first, second), ask(prompts, second, first)
        answered = torch.cat([forth, back])
        answered = answered[~answered.isnan()]
        self.asked += len(answered)
        self.first_wins += float(((answered + 1) / 2).sum())
        verdicts = {2.0: "first", -2.0: "second"}
        return [None if d != d else verdicts.get(d, "tie") for d in (forth - back).tolist()]

    def _preferences(self, prompts, shown_first, shown_second) -> Tensor:
        """1, 0 or -1 for each question: the response shown first is better, neither, or the one shown second; NaN
        where there is no answer."""
        questions = _questions(prompts, shown_first, shown_second)
        log_probs = self.asked_judge().log_probs(self.template, questions, self.answers, self.progress)
        difference = log_probs[:, 0] - log_probs[:, 1]
        return difference.sign().where(~difference.isnan(), torch.nan)  # the sign of NaN is 0

    def _written(self, prompts, shown_first, shown_second) -> Tensor:
        """As `_preferences`, from what the judge writes; NaN too where that has no verdict, which is counted."""
        questions = _questions(prompts, shown_first, shown_second)
        answers = self.asked_judge().write(self.template, questions, self.budget, self.progress)
        choices = [None if answer is None else parse_choice(answer, (*self.answers, TIE)) for answer in answers]
        given = [answer for answer in answers if answer is not None]
        unparsable = [answer for answer, choice in zip(answers, choices) if choice is None and answer is not None]
        self.asked += len(unparsable)  # the others are counted with their verdicts
        self.unparsable += len(unparsable)
        if unparsable:
            logger.warning("%d of %d answers have no verdict, e.g. %.80r", len(unparsable), len(given), unparsable[0])
        points = {self.answers[0]: 1.0, self.answers[1]: -1.0, TIE: 0.0, None: torch.nan}
        return torch.tensor([points[choice] for choice in choices], dtype=torch.float32)

    def score_group(self, prompt, responses: Sequence) -> list[float | None]:
        """Share of points of each response in a tournament of all: 1 a win, 0.5 a tie. None if it has no rival."""
        return self([prompt] * len(responses), responses)

    def __call__(
        self, prompts, completions, completion_ids=None, log_metric=None, rendering=None, **kwargs
    ) -> list[float | None]:
        """TRL's reward-function interface: a tournament among the completions of each prompt of the call, n(n-1)
        questions for n of them. A process judges what it generated: let `per_device_train_batch_size` times
        `steps_per_generation` be a multiple of `num_generations`, so that no group is cut."""
        asked, unparsable = self.asked, self.unparsable
        prompts = with_tools(prompts, rendering)
        groups: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(repr(prompt), []).append(i)
        pairs = [pair for rows in groups.values() for pair in itertools.combinations(rows, 2)]
        verdicts = self.compare(
            [prompts[i] for i, _ in pairs], [completions[i] for i, _ in pairs], [completions[j] for _, j in pairs]
        )
        points: list[list[float]] = [[] for _ in prompts]
        for pair, verdict in zip(pairs, verdicts):
            for i, point in zip(pair, () if verdict is None else POINTS[verdict]):
                points[i].append(point)
        if log_metric is not None and self.position_bias is not None:
            log_metric("pairwise_judge/position_bias", self.position_bias)
        if log_metric is not None and self.reason_tokens and self.asked > asked:
            log_metric("pairwise_judge/unparsable", (self.unparsable - unparsable) / (self.asked - asked))
        self.log_judge(log_metric)
        return [sum(p) / len(p) if p else None for p in points]


def _questions(prompts, shown_first, shown_second) -> list[dict]:
    return [{"prompt": p, "response_a": a, "response_b": b} for p, a, b in zip(prompts, shown_first, shown_second)]
