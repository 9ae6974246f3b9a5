"""The endogenous reward under many settings from one set of scores: arithmetic, no forward.

The same numbers as `EndoRM` gives one response at a time, here for all responses at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from rewards.frozen.token_scores import TokenScores


@dataclass(frozen=True)
class Setting:
    """A setting of EndoRM; see there. `end_token`: whether the response's last token, its end, is scored too."""

    alpha: float = 1.0
    discount: float = 1.0
    floor: float = 0.0
    form: str = "reward"
    reduce: str = "sum"
    terminal: str = "uniform"
    end_token: bool = True

    def __str__(self) -> str:
        changed = {k: v for k, v in asdict(self).items() if v != getattr(Setting, k)}
        return ", ".join(f"{k} {v}" for k, v in changed.items()) or "defaults"


def grid(**values: Iterable) -> list[Setting]:
    """Every combination of the values given for the fields of `Setting`."""
    return [Setting(**dict(zip(values, combination))) for combination in itertools.product(*values.values())]


class ScoredResponses:
    """Scores of n complete responses side by side in flat tensors.

    Args:
        scores: of responses whose last token is their end token, with soft values at each alpha asked for later.
    """

    def __init__(self, scores: Sequence[TokenScores]):
        self.lengths = torch.tensor([len(s.q) for s in scores])
        self.vocab_size = scores[0].vocab_size
        self.q = torch.cat([s.q for s in scores]).double()
        self.v_now = {a: torch.cat([s.v[a][:-1] for s in scores]).double() for a in scores[0].v}
        self.v_next = {a: torch.cat([s.v[a][1:] for s in scores]).double() for a in scores[0].v}
        self.row = torch.repeat_interleave(torch.arange(len(scores)), self.lengths)
        starts = self.lengths.cumsum(0) - self.lengths
        self.position = torch.arange(len(self.q)) - starts[self.row]

    def rewards(self, setting: Setting) -> Tensor:
        """(n,) float64 rewards in nats. A response that would have no token without its end token gets NaN.

        Raises:
            ValueError: an alpha whose soft values were not kept.
        """
        alpha = float(setting.alpha)
        if alpha not in self.v_now:
            raise ValueError(f"No soft values at alpha {alpha}: name it in the list of alphas when scoring.")
        lengths = self.lengths if setting.end_token else self.lengths - 1
        if setting.form == "logprob":
            values = self.q - self.v_now[alpha]
        else:
            v_next = self.v_next[alpha].clone()
            if setting.terminal != "bootstrap":
                last = self.position == lengths[self.row] - 1
                v_next[last] = alpha * math.log(self.vocab_size) if setting.terminal == "uniform" else 0.0
            values = self.q - v_next
        weights = (setting.discount ** self.position.double()).clamp(min=setting.floor)
        weights = weights * (self.position < lengths[self.row])
        totals = torch.zeros(len(lengths), dtype=torch.double).index_add_(0, self.row, weights * values)
        totals[lengths == 0] = math.nan
        return totals / lengths if setting.reduce == "mean" else totals
