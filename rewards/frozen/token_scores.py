"""What a model says about the tokens of a response: the statistics that rewards are computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rewards.frozen.lm_head import HeadStatistics


@dataclass(repr=False)
class TokenScores:
    """What a model, in most cases the frozen base, says about one response of T tokens. All fp32, in nats, except
    `hidden`.

    Attributes:
        log_probs: (T,) log-probability of each token at the sampling temperature.
        q: (T,) Q(s_h, a_h), the logit of each token.
        v: {alpha: (T+1,)} soft value of the state before each token and, last, of the state after all of them.
        vocab_size: number of logits, |V| in the boundary value alpha * log|V|.
        hidden: (T+1, H) last hidden state of the same states in the model's dtype, or None if it was not asked for.
        base: the frozen base that said it, by which rewards know scores of their own; nothing of it is read here.
        entropy: (T,) entropy of the next-token distribution at temperature 1 before each token, if it was asked for.
        self_certainty: (T,) KL(uniform || that distribution), if it was asked for.
        v_after: {alpha: (T,)} soft value of the state right after each token, where that is not the state before the
            next one: an environment has spoken in between. None where each token follows the one before it.
    """

    log_probs: Tensor
    q: Tensor
    v: dict[float, Tensor]
    vocab_size: int
    hidden: Tensor | None = None
    base: object | None = field(default=None, repr=False)
    entropy: Tensor | None = None
    self_certainty: Tensor | None = None
    v_after: dict[float, Tensor] | None = None

    def __repr__(self) -> str:
        return f"TokenScores of {len(self.q)} tokens"  # logs that show a reward's columns shall not show tensors

    def next_v(self, alpha: float) -> Tensor:
        """(T,) soft value of the state right after each token, in nats."""
        return self.v[alpha][1:] if self.v_after is None else self.v_after[alpha]

    def own(self, own: Tensor) -> TokenScores:
        """The scores of the policy's own tokens alone, as if they followed one another.

        The model has read what an environment said in between; it is not part of what is scored. The soft value after
        an own token stays the one right after it, before the environment speaks.

        Args:
            own: (T,) bool, true on the policy's own tokens.
        """
        own = own.to(self.q.device)
        if bool(own.all()):
            return self
        states = torch.cat([own, own.new_ones(1)])  # the state after the whole response stays the last one
        return TokenScores(
            self.log_probs[own],
            self.q[own],
            {alpha: v[states] for alpha, v in self.v.items()},
            self.vocab_size,
            None if self.hidden is None else self.hidden[states],
            self.base,
            None if self.entropy is None else self.entropy[own],
            None if self.self_certainty is None else self.self_certainty[own],
            {alpha: self.next_v(alpha)[own] for alpha in self.v},
        )


def split_statistics(
    statistics: HeadStatistics,
    lengths: Sequence[int],
    alphas: Sequence[float] = (1.0,),
    temperature: float = 1.0,
    hidden: Tensor | None = None,
    base: object | None = None,
) -> list[TokenScores]:
    """The scores of each response from the head's statistics of all their states, one after the other.

    Args:
        statistics: of N = sum(T_i + 1) states; the last state of each response has no token taken.
        lengths: T_i, the tokens of each response.
        alphas, temperature: as in `FrozenBase.score`, among the temperatures of the statistics.
        hidden: (N, H) the states, if the scores shall hold them.
        base: the frozen base whose states they are.
    """
    sizes = [length + 1 for length in lengths]
    log_probs, q = statistics.log_probs(temperature).split(sizes), statistics.q.split(sizes)
    values = {alpha: (alpha * statistics.log_z[alpha]).split(sizes) for alpha in alphas}
    states = [None] * len(sizes) if hidden is None else hidden.split(sizes)
    scores = [
        TokenScores(
            log_probs[i][:-1], q[i][:-1], {a: v[i] for a, v in values.items()}, statistics.vocab_size, states[i], base
        )
        for i in range(len(sizes))
    ]
    if statistics.uniform_mean is not None and statistics.softmax_mean is not None:
        log_z = statistics.log_z[1.0]
        entropy = (log_z - statistics.softmax_mean).split(sizes)
        certainty = (log_z - statistics.uniform_mean - math.log(statistics.vocab_size)).split(sizes)
        for s, e, c in zip(scores, entropy, certainty):
            s.entropy, s.self_certainty = e[:-1], c[:-1]
    return scores
