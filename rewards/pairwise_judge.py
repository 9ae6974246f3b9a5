"""GenRM-pairwise: a language model says which of two responses is better, asked in both orders.

The verdict is read from the logits of "A" and "B" at one position: deterministic, nothing is generated, nothing can be
unparsable. A judge that contradicts itself when the two change places knows no better one: that is a tie.
"""

from __future__ import annotations

import itertools
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

POINTS = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5)}


class PairwiseJudge(JudgeReward):
    """Verdicts on pairs, and win rates within groups of responses to one prompt. It has no score for one response.

    Args:
        base: the frozen base that judges, or another judge (see `rewards.judges.judge`), or None inside this project's
            trainers, which lend it theirs.
        tokenizer: the base's tokenizer.
        template: file with `{prompt}`, `{response_a}` and `{response_b}`; default `judges/prompts/pairwise.txt`.
        answers: what stands for the response shown first and second; each must be one token.
        progress: show a progress bar.

    Attributes:
        asked: questions so far, two a pair.
        first_wins: those answered in favour of the response shown first; equal logits count half.
    """

    __name__ = "pairwise_judge"

    def __init__(
        self,
        base: FrozenBase | Judge | None = None,
        tokenizer=None,
        *,
        template: str | Path | None = None,
        answers: tuple[str, str] = ("A", "B"),
        progress: bool = False,
    ):
        self.template = Template(template or FOLDER / "pairwise.txt", ("prompt", "response_a", "response_b"))
        self.judge = as_judge(base, tokenizer)
        self.answers, self.progress = answers, progress
        self.asked, self.first_wins = 0, 0.0

    @property
    def position_bias(self) -> float | None:
        """Share of questions so far whose answer was the response shown first: 0.5 is unbiased, and 1.0 a judge that
        reads nothing. None before the first question."""
        return self.first_wins / self.asked if self.asked else None

    def tokens(self, prompt, first, second) -> int:
        """How many of the model's positions it takes to compare two responses, in the longer of the two orders."""
        pairs = ((first, second), (second, first))
        return 1 + max(
            self.question_tokens(self.template, prompt=prompt, response_a=a, response_b=b) for a, b in pairs
        )

    def compare(self, prompts: Sequence, first: Sequence, second: Sequence) -> list[str | None]:
        """Which response of each pair is better: "first", "second" or "tie". Both orders are asked; None where an
        endpoint answered not both and is allowed to.

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
        forth, back = self._preferences(prompts, first, second), self._preferences(prompts, second, first)
        answered = torch.cat([forth, back])
        answered = answered[~answered.isnan()]
        self.asked += len(answered)
        self.first_wins += float(((answered + 1) / 2).sum())
        verdicts = {2.0: "first", -2.0: "second"}
        return [None if d != d else verdicts.get(d, "tie") for d in (forth - back).tolist()]

    def _preferences(self, prompts, shown_first, shown_second) -> Tensor:
        """1, 0 or -1 for each question: the response shown first is better, neither, or the one shown second; NaN
        where there is no answer."""
        questions = [
            {"prompt": p, "response_a": a, "response_b": b} for p, a, b in zip(prompts, shown_first, shown_second)
        ]
        log_probs = self.asked_judge().log_probs(self.template, questions, self.answers, self.progress)
        difference = log_probs[:, 0] - log_probs[:, 1]
        return difference.sign().where(~difference.isnan(), torch.nan)  # the sign of NaN is 0

    def score_group(self, prompt, responses: Sequence) -> list[float | None]:
        """Share of points of each response in a tournament of all: 1 a win, 0.5 a tie. None if it has no rival."""
        return self([prompt] * len(responses), responses)

    def __call__(
        self, prompts, completions, completion_ids=None, log_metric=None, rendering=None, **kwargs
    ) -> list[float | None]:
        """TRL's reward-function interface: a tournament among the completions of each prompt of the call, n(n-1)
        questions for n of them. A process judges what it generated: let `per_device_train_batch_size` times
        `steps_per_generation` be a multiple of `num_generations`, so that no group is cut."""
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
        if log_metric is not None and self.asked:
            log_metric("pairwise_judge/position_bias", self.position_bias)
        self.log_judge(log_metric)
        return [sum(p) / len(p) if p else None for p in points]
