"""Log-likelihood of a response under the frozen base: mean over its tokens, or their sum.

    r = mean_h log pi(a_h | s_h)      or      sum_h log pi(a_h | s_h) = log pi(response)

The sum is EM-RL's sequence variant (arXiv 2505.15134, there with the policy itself as scorer) and EndoRM's
undiscounted `logprob` form at alpha 1. Known failures: the sum favours short responses, the mean long and repetitive
ones.
"""

from torch import Tensor

from rewards.frozen.frozen_reward import FrozenReward
from rewards.frozen.token_scores import TokenScores


class SequenceLogLikelihood(FrozenReward):
    """log pi(response), in nats. Args: as `FrozenReward`."""

    __name__ = "sequence_log_likelihood"
    alphas = (1.0,)

    def values(self, scores: TokenScores, complete: bool) -> Tensor:
        """Log-probability of each token at temperature 1; see `FrozenReward.values`."""
        return scores.q - scores.v[1.0][:-1]


class MeanLogLikelihood(SequenceLogLikelihood):
    """log pi(response) divided by its number of tokens, in nats. Args: as `FrozenReward`."""

    __name__ = "mean_log_likelihood"

    def values(self, scores: TokenScores, complete: bool) -> Tensor:
        """Each token's share of the mean; see `FrozenReward.values`."""
        return super().values(scores, complete) / len(scores.q)
