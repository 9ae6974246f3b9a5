"""Rubric: weighted criteria, each judged by the probability that a model answers "Yes" when asked whether it is met.

    r = clip(sum_i w_i P_i / sum_{i: w_i > 0} w_i, 0, 1)          P_i = P("Yes" | prompt, response, criterion i)

With weights that are all positive it is the weighted mean of the explicit aggregation of Rubrics as Rewards (arXiv
2507.17746, eq. 1), with probabilities in place of verdicts. A criterion of negative weight describes a pitfall, and
takes from what the others give: the score of HealthBench (arXiv 2505.08775). 1 means that every criterion is met and
no pitfall; at 0 all responses are alike whose pitfalls outweigh their merits, so that negative weights that are too
large leave nothing to learn from. Only "Yes" counts: a judge that says Yes to everything gives every response
the same, and one that can be flattered teaches flattery.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from rewards.frozen.encoding import check_lists, column
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.messages import with_tools
from rewards.judges.judge import Judge
from rewards.judges.judge_reward import JudgeReward, as_judge, first_answer, none_for_nan
from rewards.judges.templates import FOLDER, Template

EXAMPLE = "[{criterion: gives the unit, weight: 2.0}, {criterion: makes up a source, weight: -1.0}]"


class Rubric(JudgeReward):
    """The rubric as a reward function, 0 to 1: one question for each response and criterion, nothing generated.

    Args:
        base: the frozen base that judges, or another judge (see `rewards.judges.judge`), or None inside this project's
            trainers, which lend it theirs. The criteria are then judged in forwards of their own.
        tokenizer: the base's tokenizer.
        criteria: the same for every response: see `read_criteria`.
        criteria_column: instead, the dataset's column with each prompt's own; where it is empty or None, the reward
            does not apply (None). Give one of the two.
        template: file with `{prompt}`, `{response}` and `{criterion}`; default `rewards/judges/prompts/rubric.txt`.
        answers: what says that a criterion is met, and its opposite; each must be one token.
        among_answers: whether P is the first answer's share of the two, or (default) of the whole vocabulary.
        online: the policy judges itself, as it stands, with its adapter on; inside this project's trainers only.
        progress: show a progress bar while scoring.

    Raises:
        ValueError: neither or both of `criteria` and `criteria_column`, or criteria that make no sense.
    """

    __name__ = "rubric"

    def __init__(
        self,
        base: FrozenBase | Judge | None = None,
        tokenizer=None,
        *,
        criteria: Sequence[dict | str] | str | None = None,
        criteria_column: str | None = None,
        template: str | Path | None = None,
        answers: tuple[str, str] = ("Yes", "No"),
        among_answers: bool = False,
        online: bool = False,
        progress: bool = False,
    ):
        if (criteria is None) == (criteria_column is None):
            raise ValueError(f"A rubric needs criteria, e.g. {EXAMPLE}, or a criteria_column, and not both.")
        self.criteria = None if criteria is None else read_criteria(criteria)
        if self.criteria == []:
            raise ValueError(f"The rubric has no criterion: give criteria, e.g. {EXAMPLE}.")
        self.criteria_column = criteria_column
        self.template = Template(template or FOLDER / "rubric.txt", ("prompt", "response", "criterion"))
        self.judge = as_judge(base, tokenizer, online=online)
        self.answers, self.among_answers, self.online, self.progress = answers, among_answers, online, progress

    def score(self, prompts: Sequence, responses: Sequence, criteria: Sequence | None = None) -> list[float | None]:
        """The reward of each response, 0 to 1; None where it has no criteria, or an endpoint gave no answer and is
        allowed to.

        Args:
            prompts: str or chat messages, read by the judge as text with the roles named.
            responses: str, or the assistant's chat messages.
            criteria: each response's own; wanted if, and only if, there is a `criteria_column`.

        Raises:
            ValueError: criteria that are missing, not wanted or make no sense, an answer that is not one token, a
                judge prompt beyond the model's positions, NaN; see `FrozenBase.score`.
            JudgeUnavailable: see `EndpointJudge`.
        """
        return self._score(prompts, responses, criteria)[0]

    def __call__(
        self, prompts, completions, completion_ids=None, log_metric=None, rendering=None, **kwargs
    ) -> list[float | None]:
        """TRL's reward-function interface. Logs the mean P of each criterion of the recipe as `rubric/criterion_1` ...

        Raises:
            ValueError: the dataset has no `criteria_column`.
        """
        own = None if self.criteria_column is None else column(kwargs, self.criteria_column, "criteria_column")
        rewards, met = self._score(with_tools(prompts, rendering), completions, own)
        if log_metric is not None and self.criteria is not None:
            for i, values in enumerate(met.view(-1, len(self.criteria)).T, start=1):
                if bool((~values.isnan()).any()):
                    log_metric(f"rubric/criterion_{i}", float(values.nanmean()))
        self.log_judge(log_metric)
        return rewards

    def _score(self, prompts, responses, criteria) -> tuple[list[float | None], torch.Tensor]:
        """The rewards, and P of every criterion of every response one after the other, fp64."""
        check_lists(prompts, responses)
        if (criteria is None) == (self.criteria_column is not None):
            raise ValueError("Give each response's criteria with a criteria_column, and none without one.")
        if criteria is None:
            rubrics = [self.criteria or []] * len(prompts)
        else:
            rubrics = [read_criteria(value, f"Row {i}") for i, value in enumerate(criteria)]
        questions = [
            {"prompt": p, "response": r, "criterion": text}
            for p, r, rubric in zip(prompts, responses, rubrics, strict=True)
            for text, _ in rubric
        ]
        log_probs = self.asked_judge().log_probs(self.template, questions, self.answers, self.progress)
        met = first_answer(log_probs, self.among_answers).double().exp()
        rows = torch.tensor([i for i, rubric in enumerate(rubrics) for _ in rubric], dtype=torch.long)
        weights = torch.tensor([weight for rubric in rubrics for _, weight in rubric], dtype=torch.float64)
        counted = torch.where(weights == 0, 0.0, weights * met)  # what has no weight may have no answer either
        total, most = (
            torch.zeros(len(prompts), dtype=torch.float64).index_add(0, rows, x)
            for x in (counted, weights.clamp(min=0))
        )
        return none_for_nan((total / most).clamp(0, 1).tolist()), met  # 0 / 0: no criteria


def read_criteria(value, where: str = "The rubric") -> list[tuple[str, float]]:
    """Criteria and their weights.

    Args:
        value: a list of `{criterion: text, weight: number}` (weight 1 where there is none; 0 is only logged) and
            plain texts of weight 1, or that as JSON, or None for no criteria.
        where: what the criteria belong to, for messages.

    Raises:
        ValueError: anything else, or no weight above 0.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: criteria are not JSON ({error}): write a list such as {EXAMPLE}.") from error
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}: criteria must be a list such as {EXAMPLE}, got {value!r}.")
    criteria = []
    for entry in value:
        entry = {"criterion": entry} if isinstance(entry, str) else entry
        text = entry.get("criterion") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text.strip() or set(entry) - {"criterion", "weight"}:
            raise ValueError(
                f"{where}: a criterion is a text, or a dict of criterion (a text) and weight, got {entry!r}."
            )
        weight = 1.0 if entry.get("weight") is None else entry["weight"]
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ValueError(f"{where}: the weight of a criterion is a finite number, got {weight!r}.")
        criteria.append((text, float(weight)))
    if criteria and max(weight for _, weight in criteria) <= 0:
        raise ValueError(
            f"{where}: no criterion has a weight above 0, so that no response could earn anything. Add one, or say "
            "the opposite of a pitfall and give that a positive weight."
        )
    return criteria
