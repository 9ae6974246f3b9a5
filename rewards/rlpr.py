r"""RLPR: how much the response's reasoning raises the mean probability of the reference answer's tokens.

    r = clip(mean_i p_i - mean_i p'_i, 0, 1),  p'_i the probabilities right after the prompt, without reasoning

arXiv 2506.18254, eq. 2 to 5, there with the policy itself as scorer (`online: true`); its filter of prompts by the
spread of rewards is left out. Without reasoning, the answer still follows ``\boxed{`` where that is how answers are
given, so that writing a box earns nothing. Known failure: a mean is high for a long answer of which most is routine.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rewards.frozen.encoding import encode_response
from rewards.frozen.frozen_base import FrozenBase
from rewards.reference_probability import BOX, ReferenceProbability


class RLPR(ReferenceProbability):
    """Mean probability of the reference's tokens, less the same without reasoning; 0 to 1.

    Args: as `ReferenceProbability`, and
        debias: take off what the answer's tokens have without reasoning.
    """

    __name__ = "rlpr"

    def __init__(
        self,
        base: FrozenBase | None = None,
        tokenizer=None,
        *,
        column: str = "solution",
        answer: str = "boxed",
        debias: bool = True,
        online: bool = False,
        progress: bool = False,
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
    ):
        super().__init__(
            base,
            tokenizer,
            column=column,
            answer=answer,
            online=online,
            progress=progress,
            chat_template_kwargs=chat_template_kwargs,
        )
        self.debias = debias

    def rewards(self, prompt_ids: list, reasoning_ids: list, answer_ids: list) -> list[float]:
        """See `ReferenceProbability.rewards`."""
        means = self._means([p + z for p, z in zip(prompt_ids, reasoning_ids)], answer_ids)
        if not self.debias:
            return means.tolist()
        cue = [] if self.pattern is not None else encode_response(self.tokenizer, BOX, append_eos=False)
        keys = [(tuple(p + cue), tuple(a)) for p, a in zip(prompt_ids, answer_ids)]
        different = {key: i for i, key in enumerate(dict.fromkeys(keys))}  # responses to one prompt share it
        bare = self._means([list(p) for p, _ in different], [list(a) for _, a in different])
        return (means - bare[[different[key] for key in keys]]).clamp(0.0, 1.0).tolist()

    def _means(self, contexts: list, answers: list) -> Tensor:
        """(n,) mean probability of each answer's tokens."""
        return torch.tensor([x.exp().mean() for x in self.token_log_probs(contexts, answers)])
