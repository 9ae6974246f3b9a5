"""Negative entropy: how sure the frozen base is of each next token, averaged over a response.

    r = - mean_h H(pi(. | s_h))

RENT (arXiv 2505.22660), and EM-RL's token variant (arXiv 2505.15134), there with the policy itself as scorer. Known
failure: repetition has no entropy, so a policy that repeats itself earns most; watch `completions/repetition_rate`.
"""

from typing import cast

from torch import Tensor

from rewards.frozen.frozen_reward import FrozenReward
from rewards.frozen.token_scores import TokenScores


class NegativeEntropy(FrozenReward):
    """Minus the mean entropy before a response's tokens, in nats, at most 0. Args: as `FrozenReward`."""

    __name__ = "negative_entropy"
    distribution = True

    def values(self, scores: TokenScores, complete: bool) -> Tensor:
        """Each token's share of the mean; see `FrozenReward.values`."""
        entropy = cast(Tensor, scores.entropy)  # there, since `distribution` asks for it
        return -entropy / len(entropy)
