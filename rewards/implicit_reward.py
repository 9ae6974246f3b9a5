"""Implicit reward of a policy that was trained by DPO: beta * log(pi(response) / pi_ref(response)).

Direct Preference Optimization (arXiv 2305.18290, eq. 5): every policy is the optimum of this reward under a KL penalty
beta to its reference, up to a term of the prompt alone. Token by token it is the implicit process reward of PRIME
(arXiv 2502.01456).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from rewards.frozen.encoding import (
    check_end_token,
    check_lists,
    check_own_tokens,
    check_same_tokenizer,
    encode_prompt,
    encode_response,
    warn_of_split,
)
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.loading import load_causal_lm
from rewards.frozen.messages import Rendering, read_template_kwargs, with_variables


class ImplicitReward:
    """The scaled log-ratio of two causal LMs as a reward function: one forward of each a response.

    Args:
        policy: the model that preferences shaped.
        reference: what it was before; of the same tokenizer.
        tokenizer: that of both.
        beta: the factor, > 0; 0.1 is usual. It changes no order of responses.
        append_eos: end a response given as text with the end token that `end_token` names.
        end_token, chat_template_kwargs: see `FrozenReward`.
        progress: show a progress bar while scoring.
    """

    __name__ = "implicit_reward"

    def __init__(
        self,
        policy: FrozenBase,
        reference: FrozenBase,
        tokenizer,
        *,
        beta: float = 0.1,
        append_eos: bool = True,
        end_token: str = "template",
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
        progress: bool = False,
    ):
        if beta <= 0:
            raise ValueError(f"beta must be positive, got {beta}.")
        self.policy, self.reference, self.tokenizer = policy, reference, tokenizer
        self.beta, self.append_eos, self.progress = beta, append_eos, progress
        self.end_token = check_end_token(end_token)
        self.chat_template_kwargs = read_template_kwargs(chat_template_kwargs)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        reference: str,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device | None = None,
        batch_tokens: int = 8192,
        trust_remote_code: bool = False,
        **settings,
    ) -> ImplicitReward:
        """Load both models as `EndoRM.from_pretrained` does; `reference` is the second's name, `settings` are those of
        `ImplicitReward`.

        Raises:
            ValueError: the two have different tokenizers.
        """
        policy, tokenizer = load_causal_lm(name_or_path, dtype, device, trust_remote_code)
        other, its_tokenizer = load_causal_lm(reference, dtype, device, trust_remote_code)
        if tokenizer.get_vocab() != its_tokenizer.get_vocab():
            raise ValueError(
                f"{name_or_path} and {reference} have different tokenizers, so their log-probabilities cannot be "
                "compared token by token. Give the checkpoint from which the policy was trained as reference."
            )
        ours, theirs = (FrozenBase(model, batch_tokens=batch_tokens) for model in (policy, other))
        return cls(ours, theirs, tokenizer, **settings)

    @property
    def max_positions(self) -> int | None:
        return min((b.max_positions for b in (self.policy, self.reference) if b.max_positions), default=None)

    def tokens(self, prompt, response) -> int:
        """How many of the models' positions it takes to judge a response."""
        return len(self.prompt_ids(prompt)) + len(self.response_ids(response, prompt))

    def prompt_ids(self, prompt: str | Sequence[dict], rendering: Rendering | None = None) -> list[int]:
        """Token ids of a prompt, rendered as `rendering` and its own `chat_template_kwargs` say."""
        return encode_prompt(self.tokenizer, prompt, **with_variables(rendering, self.chat_template_kwargs))

    def response_ids(self, response: str | Sequence[dict], prompt: str | Sequence[dict] = "") -> list[int]:
        """Token ids of a response to a prompt given as text, with the end token that `end_token` names."""
        return encode_response(self.tokenizer, response, self.append_eos, prompt, self.end_token)

    def score(self, prompts: Sequence, responses: Sequence) -> list[float]:
        """beta times the log-ratio of each response, summed over its tokens.

        Args:
            prompts: str (tokenised as it stands, no template) or chat messages (rendered by the chat template).
            responses: str, or the assistant's chat messages. Prompt and response are tokenised apart.

        Raises:
            ValueError: empty response without end token, no chat template, too long, NaN; see `FrozenBase.score`.
        """
        return [float(r.sum()) for r in self.token_rewards(prompts, responses)]

    def token_rewards(
        self, prompts: Sequence, responses: Sequence, rendering: Sequence[Rendering] | None = None
    ) -> list[Tensor]:
        """beta * log(pi / pi_ref) of each token of each response: (T_i,) fp32 on the CPU, end token included.

        Args:
            rendering: how each prompt is rendered, as this project's trainers say it in a column of that name.
        """
        check_lists(prompts, responses)
        warn_of_split(self.tokenizer, prompts, responses)
        ids = [self.response_ids(r, p) for p, r in zip(prompts, responses, strict=True)]
        return self._rewards(prompts, ids, rendering)

    def __call__(self, prompts, completions, completion_ids=None, **kwargs) -> list[float]:
        """TRL's reward-function interface. With `completion_ids` the trainer's own tokens are scored as they are."""
        return [float(r.sum()) for r in self.per_token(prompts, completions, completion_ids, **kwargs)]

    def per_token(
        self,
        prompts,
        completions,
        completion_ids=None,
        own_tokens=None,
        rendering: Sequence[Rendering] | None = None,
        **kwargs,
    ) -> list[Tensor]:
        """Like a call, but the reward of each token, (T_i,) fp32 on the CPU, which sums to the call's; 0 on tokens
        that are not the policy's, by the column `own_tokens`."""
        check_own_tokens(completions, own_tokens, type(self).__name__)
        if completion_ids is None:
            return self.token_rewards(prompts, completions, rendering)
        check_same_tokenizer(self.tokenizer, completions, completion_ids)
        rewards = self._rewards(prompts, completion_ids, rendering)
        if own_tokens is None:
            return rewards
        return [r * torch.as_tensor(own, dtype=r.dtype) for r, own in zip(rewards, own_tokens, strict=True)]

    def _rewards(
        self, prompts: Sequence, response_ids: Sequence[Sequence[int]], rendering: Sequence[Rendering] | None
    ) -> list[Tensor]:
        renderings: Sequence[Rendering] = rendering or [{}] * len(prompts)
        prompt_ids = [self.prompt_ids(p, how) for p, how in zip(prompts, renderings, strict=True)]
        # alphas=(): no soft values are needed, only log-probs at temperature 1
        both = 2 * len(prompt_ids)
        with tqdm(total=both, desc=self.__name__, unit="response", disable=not self.progress) as bar:
            told = bar.update if self.progress else False
            policy, reference = (
                torch.cat([s.log_probs for s in base.score(prompt_ids, response_ids, (), progress=told)]).cpu()
                if prompt_ids
                else torch.empty(0)
                for base in (self.policy, self.reference)
            )
        return list((self.beta * (policy - reference)).split([len(ids) for ids in response_ids]))
