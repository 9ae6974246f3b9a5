"""VeriFree: the probability of the reference answer after the response's own reasoning.

    r = pi(y* | prompt, z) = prod_i p_i

arXiv 2505.21493, eq. 3, there with the policy itself as scorer (`online: true`); its second gradient term, which also
trains the policy on the reference, is left out. Known failures: another way to write the answer gets nothing, and a
long answer little.
"""

import torch

from rewards.reference_probability import ReferenceProbability


class VeriFree(ReferenceProbability):
    """pi(reference | prompt, reasoning), 0 to 1. Args: as `ReferenceProbability`."""

    __name__ = "verifree"

    def rewards(self, prompt_ids: list, reasoning_ids: list, answer_ids: list) -> list[float]:
        """See `ReferenceProbability.rewards`."""
        contexts = [p + z for p, z in zip(prompt_ids, reasoning_ids)]
        log_probs = [x.sum() for x in self.token_log_probs(contexts, answer_ids)]
        return torch.tensor(log_probs).exp().tolist()
