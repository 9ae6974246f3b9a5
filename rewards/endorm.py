"""EndoRM: the endogenous reward of a causal language model, arXiv 2506.23235.

With Q the logits of a frozen base and V(s) = alpha * logsumexp(Q(s, .) / alpha), token h earns (eq. 8, 11, 12)

    r_h = Q(s_h, a_h) - V(s_{h+1}) = alpha * log pi(a_h | s_h) + V(s_h) - V(s_{h+1})

with Q(s_{H+1}, .) = 0 after the end, so that V(s_{H+1}) = alpha * log|vocab|. A response is worth (Appendix C)

    sum_h max(discount^h, floor) * r_h,  h from 0.

Without discount the sum telescopes to alpha * log pi(response) + V(s_1) - V(s_{H+1}): a sequence likelihood. So it
favours short responses when summed and long, dull ones when averaged; watch the length in training. With discount
0.95 the weight of token 100 is under 0.006: the score then reads the beginning only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.frozen_reward import FrozenReward
from rewards.frozen.token_scores import TokenScores

FORMS = ("reward", "logprob")
REDUCES = ("sum", "mean")
TERMINALS = ("uniform", "zero", "bootstrap")


def endogenous_rewards(
    scores: TokenScores, alpha: float = 1.0, form: str = "reward", terminal: str = "uniform", complete: bool = True
) -> Tensor:
    """Reward of each token of one response, (T,) fp32 nats (eq. 8 and 12).

    Args:
        scores: the frozen base's scores, with soft values at `alpha`.
        alpha: temperature of the soft value.
        form: "reward" is Q(s_h, a_h) - V(s_{h+1}); "logprob" is alpha * log pi(a_h | s_h), without the shaping term.
        terminal: V after a complete response: "uniform" alpha * log|vocab| (the paper), "zero" 0, or "bootstrap" the
            base's own V of the state after the end token.
        complete: whether the response ended. One that was cut off is never terminal: its last V is the base's own.
    """
    if form == "logprob":
        return scores.q - scores.v[alpha][:-1]
    v_next = scores.next_v(alpha).clone()
    if complete and terminal != "bootstrap":
        v_next[-1] = alpha * math.log(scores.vocab_size) if terminal == "uniform" else 0.0
    return scores.q - v_next


def position_weights(length: int, discount: float, floor: float, device=None) -> Tensor:
    """max(discount^h, floor) for h = 0 .. length-1, (length,) fp32 (Appendix C)."""
    steps = torch.arange(length, dtype=torch.float32, device=device)
    return (discount**steps).clamp(min=floor)


class EndoRM(FrozenReward):
    """The endogenous reward as a reward function: score texts or token ids, or hand it to any TRL trainer.

    Args:
        base: the frozen base that scores, or None inside this project's trainers, which lend it theirs.
        tokenizer: the base's tokenizer; needed for texts and chat messages, not for token ids with shared scores.
        alpha: temperature of the soft value, > 0.
        discount, floor: token h weighs max(discount^h, floor).
        form: "reward" (Q - V) or "logprob"; see `endogenous_rewards`.
        reduce: "sum" over the tokens or "mean" (the weighted sum divided by the number of tokens).
        terminal: "uniform", "zero" or "bootstrap"; see `endogenous_rewards`.
        system_prompt, append_eos, end_token, chat_template_kwargs, eos_token_ids, progress: see `FrozenReward`.
    """

    __name__ = "endorm"  # what TRL calls the reward in its logs

    def __init__(
        self,
        base: FrozenBase | None = None,
        tokenizer=None,
        *,
        alpha: float = 1.0,
        discount: float = 1.0,
        floor: float = 0.0,
        form: str = "reward",
        reduce: str = "sum",
        terminal: str = "uniform",
        system_prompt: str | None = None,
        append_eos: bool = True,
        end_token: str = "template",
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
        eos_token_ids: Sequence[int] | None = None,
        progress: bool = False,
    ):
        if alpha <= 0:
            raise ValueError(f"alpha must be positive, got {alpha}.")
        if not 0 <= discount <= 1 or not 0 <= floor <= 1:
            raise ValueError(f"discount and floor must lie in [0, 1], got {discount} and {floor}.")
        for name, value, known in (
            ("form", form, FORMS),
            ("reduce", reduce, REDUCES),
            ("terminal", terminal, TERMINALS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}.")
        super().__init__(
            base,
            tokenizer,
            system_prompt=system_prompt,
            append_eos=append_eos,
            end_token=end_token,
            chat_template_kwargs=chat_template_kwargs,
            eos_token_ids=eos_token_ids,
            progress=progress,
        )
        self.alpha, self.discount, self.floor = float(alpha), discount, floor
        self.form, self.reduce, self.terminal = form, reduce, terminal

    @property
    def alphas(self) -> tuple[float, ...]:
        """The one temperature at which it needs soft values."""
        return (self.alpha,)

    def token_rewards(self, prompts: Sequence, responses: Sequence) -> list[Tensor]:
        """r_h of each token of each response, unweighted: (T_i,) fp32 nats on the CPU, end token included."""
        scores = self._score_texts(prompts, responses)
        return [endogenous_rewards(s, self.alpha, self.form, self.terminal).cpu() for s in scores]

    def values(self, scores: TokenScores, complete: bool) -> Tensor:
        """Weighted rewards of one response's tokens, (T,); see `FrozenReward.values`."""
        r = endogenous_rewards(scores, self.alpha, self.form, self.terminal, complete)
        if self.discount != 1.0:
            r = r * position_weights(len(r), self.discount, self.floor, r.device)
        return r / len(r) if self.reduce == "mean" else r
