"""EndoRM as the `reward_model` of TRL's own PPOTrainer, which TRL had until version 1.12.

That trainer calls what it takes for the backbone of a sequence classifier, puts its last hidden states through `score`
and reads the column of the response's last token (`trl.experimental.utils.get_reward`). Here the "hidden states" are
running totals of the response's token rewards, in nats, and `score` is the identity: that column then holds the reward
of the whole response.
"""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.frozen_reward import FrozenReward


class PPORewardModel(nn.Module):
    """A reward model for `trl.experimental.ppo.PPOTrainer`: `PPOTrainer(..., reward_model=PPORewardModel(rm, 64))`.

    A reward model is not told where prompts end, so that all of them must have one length: tokenise them with
    `padding="max_length", max_length=prompt_length, padding_side="left"` and drop those that are longer.

    Padding is taken out before the frozen forward, so it can change nothing. A response ends before its first padding
    token. One whose last token is no end token was cut off: its last soft value is the base's own, as everywhere. An
    empty one gets the reward of an end token alone, with a warning: for nothing at all the total would be 0, which can
    be more than any response earns.

    The frozen model may be the trainer's `ref_model`, and then costs no memory. The trainer saves the policy alone.
    Not tried under DeepSpeed.

    Args:
        reward: an `EndoRM`, or another reward of a frozen base, with base and tokenizer.
        prompt_length: tokens of every prompt, its padding included.

    Raises:
        ValueError: the reward has no base, or reads other prompts or tokens than the policy's, or knows no end token;
            or its tokenizer pads with its end token, since the trainer hides padding from reward models.
    """

    base_model_prefix = "forward"  # the attribute that the trainer calls as the backbone

    def __init__(self, reward: FrozenReward, prompt_length: int):
        super().__init__()
        if reward.base is None or not reward.reads_policys_prompt or reward.across is not None:
            raise ValueError(
                "A reward model reads the policy's token ids as they are: build the reward with a frozen base, "
                "without system_prompt, chat_template_kwargs and across."
            )
        if not reward.eos_token_ids:
            raise ValueError(
                "The reward knows no end token, so no response would end: pass tokenizer, or eos_token_ids."
            )
        if reward.tokenizer is not None and reward.tokenizer.pad_token_id == reward.tokenizer.eos_token_id:
            raise ValueError(
                "The tokenizer pads with its end token, and the trainer hides padding, so no response would end. Give "
                'padding a token of its own: tokenizer.add_special_tokens({"pad_token": "<pad>"}).'
            )
        if prompt_length < 1:
            raise ValueError(f"prompt_length must be at least 1, got {prompt_length}.")
        self.reward, self.prompt_length = reward, prompt_length
        self.frozen = reward.base.model  # a submodule, so that .to() moves it

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_) -> BaseModelOutput:
        """Running totals of the token rewards as the only hidden state: (B, L, 1) fp32 nats, 0 in the prompt, constant
        from the response's last token on. An empty response has its reward in the prompt's last column too, which is
        where the trainer looks for it.

        Args:
            input_ids: (B, L), prompts of `prompt_length` tokens padded on the left, responses padded on the right.
            attention_mask: (B, L), 1 or True on real tokens.

        Raises:
            ValueError: no token follows the prompt, or the first `prompt_length` columns cannot be a prompt padded on
                the left. Prompts of another length are not always to be told from that.
        """
        n, width = self.prompt_length, input_ids.shape[1]
        advice = (
            f'tokenise prompts with padding="max_length", max_length={n}, padding_side="left", and drop longer ones'
        )
        if width <= n:
            raise ValueError(f"Nothing follows the prompt: {width} tokens, and prompt_length is {n}; {advice}.")
        ids, mask = input_ids.cpu(), attention_mask.cpu().bool()
        prompt_mask, response_ids = mask[:, :n], ids[:, n:].clone()
        if not (prompt_mask[:, -1].all() and (prompt_mask.int().diff(dim=1) >= 0).all()):
            raise ValueError(f"Prompts do not end at prompt_length={n}, or are padded on the right: {advice}.")
        response_mask = mask[:, n:].cumprod(dim=1).bool()
        empty = ~response_mask[:, 0]
        if empty.any():
            warnings.warn(
                f"{int(empty.sum())} of {len(ids)} responses are empty (they begin with a padding token) and are "
                "scored as an end token alone.",
                stacklevel=2,
            )
            response_ids[empty, 0], response_mask[empty, 0] = self._end_token, True

        scores = cast(FrozenBase, self.reward.base).score_padded(
            ids[:, :n],
            prompt_mask,
            response_ids,
            response_mask,
            alphas=self.reward.alphas,
            distribution=self.reward.distribution,
        )
        last = response_ids.gather(1, response_mask.sum(dim=1, keepdim=True) - 1)[:, 0].tolist()
        values = [self.reward.values(s, i in self.reward.eos_token_ids) for s, i in zip(scores, last)]
        rows = pad_sequence(values, batch_first=True)
        totals = pad(rows, (n, width - n - rows.shape[1])).cumsum(dim=1)
        totals[empty, n - 1] = totals[empty, n]
        totals = totals[..., None].to(input_ids.device)
        return BaseModelOutput(last_hidden_state=totals, hidden_states=(totals,))  # versions of TRL read either

    def score(self, totals: Tensor) -> Tensor:
        """The totals themselves."""
        return totals

    @property
    def _end_token(self) -> int:
        own = getattr(self.reward.tokenizer, "eos_token_id", None)
        return min(self.reward.eos_token_ids) if own is None else own
