"""What the policy says of its own rollout, for online rewards: read off the forward that gives its log-probs."""

import contextlib

import torch
from torch import Tensor, nn

from rewards import TokenScores
from rewards.frozen.lm_head import LogitRule, head_statistics, materialize
from rewards.frozen.token_scores import split_statistics
from rewards.frozen.wrappers import unwrap


class PolicyScores:
    """Listens to the policy's forward over a rollout. Its last hidden states and one more product with the head give
    soft values, entropies and self-certainties; no second forward of the policy is made.

    Args:
        policy: a causal LM, wrapped by PEFT or sharded or not.
        alphas, distribution: as in `FrozenBase.score`.
    """

    def __init__(self, policy: nn.Module, alphas: tuple[float, ...], distribution: bool):
        self.policy, self.alphas, self.distribution = policy, alphas, distribution
        self._scores: list[TokenScores] = []
        self.listens = False

    def __len__(self) -> int:
        """Responses heard and not yet taken."""
        return len(self._scores)

    @contextlib.contextmanager
    def attentive(self):
        """Within this a rollout is made, and its forwards are to be listened to; an update's are not."""
        self.listens = True
        try:
            yield
        finally:
            self.listens = False

    @contextlib.contextmanager
    def listening(self, completion_ids: Tensor):
        """Listen to forwards over prompts padded on the left and completions (B, T) padded on the right, in batches in
        their order; what was heard before is forgotten."""
        self._scores = []
        width = completion_ids.shape[1]

        def hook(module, args, output):
            # the states before each token and after the last; what is said of padding is left out in `take`
            states = output.last_hidden_state[:, -width - 1 :].detach()
            done = len(self._scores)
            actions = nn.functional.pad(completion_ids[done : done + len(states)], (0, 1))  # none after the last
            self._scores += self._statistics(states.flatten(0, 1), actions.flatten(), len(states), width)

        handle = unwrap(self.policy).base_model.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def take(self, lengths: list[int]) -> list[TokenScores]:
        """The scores of each response of so many tokens. They are given once."""
        scores, self._scores = self._scores, []
        for s, length in zip(scores, lengths, strict=True):
            s.log_probs, s.q = s.log_probs[:length], s.q[:length]
            s.v = {alpha: v[: length + 1] for alpha, v in s.v.items()}
            if s.entropy is not None and s.self_certainty is not None:
                s.entropy, s.self_certainty = s.entropy[:length], s.self_certainty[:length]
        return scores

    @torch.no_grad()
    def _statistics(self, states: Tensor, actions: Tensor, rows: int, width: int) -> list[TokenScores]:
        lm = unwrap(self.policy)
        head, rule = lm.get_output_embeddings(), LogitRule.from_config(lm.config.get_text_config())
        temperatures = (1.0, *self.alphas)
        with materialize(head.weight, head.bias) as (weight, bias):
            statistics = head_statistics(
                states, weight, bias, actions, temperatures, rule, distribution=self.distribution
            )
        return split_statistics(statistics, [width] * rows, self.alphas)
