"""Self-certainty: how far the frozen base's predictions are from uniform, averaged over a response.

    r = mean_h KL(U || pi(. | s_h)) = mean_h [ logsumexp(z_h) - mean(z_h) - log|vocab| ],  z_h the logits

Intuitor (arXiv 2505.19590), there with the policy itself as scorer. Known failures: a frozen scorer is hacked after
some hundred steps (its section 5.4); a mean over tokens is bought by long, dull responses.
"""

from typing import cast

from torch import Tensor

from rewards.frozen.frozen_reward import FrozenReward
from rewards.frozen.token_scores import TokenScores


class SelfCertainty(FrozenReward):
    """Mean self-certainty of a response's tokens, in nats, at least 0. Args: as `FrozenReward`."""

    __name__ = "self_certainty"
    distribution = True

    def values(self, scores: TokenScores, complete: bool) -> Tensor:
        """Each token's share of the mean; see `FrozenReward.values`."""
        certainty = cast(Tensor, scores.self_certainty)  # there, since `distribution` asks for it
        return certainty / len(certainty)
