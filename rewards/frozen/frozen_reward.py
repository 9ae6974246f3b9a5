"""Rewards that are arithmetic on what a frozen base says of each token: EndoRM and its label-free relatives.

Inside this project's trainers any number of them share the one frozen forward that also gives the KL term. Those that
are `online` read the policy's own statistics in its place, from the forward that gives the policy's log-probs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from rewards.frozen.cross_tokenizer import CrossTokenizer
from rewards.frozen.encoding import (
    check_lists,
    check_own_tokens,
    check_same_tokenizer,
    encode_prompt,
    encode_response,
)
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.loading import FromFrozenBase
from rewards.frozen.token_scores import TokenScores


class FrozenReward(FromFrozenBase, ABC):
    """A reward function over a frozen base: scores texts or token ids, or serves any TRL trainer. Subclasses say in
    `values` what a token is worth.

    Args:
        base: the frozen base that scores, or None inside this project's trainers, which lend it theirs.
        tokenizer: the base's tokenizer; needed for texts and chat messages, not for token ids with shared scores.
        system_prompt: criterion by which to judge: it replaces the system message that the base reads. The base then
            reads another text than the policy, so the forward cannot be shared with the KL term.
        append_eos: end a response given as text with the tokenizer's end token.
        eos_token_ids: ids that end a response; default the tokenizer's and those of the model's generation config.
        progress: show a progress bar while scoring.
        online: the policy itself scores, as it stands at each rollout; inside this project's trainers only.

    Attributes:
        across: a `CrossTokenizer` where the trainer's ids are of another tokenizer than the base's, so that its text
            is judged in tokens of the base's own. This project's trainers set it; for others, set it by hand.
    """

    across: CrossTokenizer | None = None
    distribution = False  # whether it needs entropies and self-certainties, for which the head's product is made again

    def __init__(
        self,
        base: FrozenBase | None = None,
        tokenizer=None,
        *,
        system_prompt: str | None = None,
        append_eos: bool = True,
        eos_token_ids: Sequence[int] | None = None,
        progress: bool = False,
        online: bool = False,
    ):
        if online and (base is not None or system_prompt is not None):
            raise ValueError(
                f"{type(self).__name__}: online means that the policy scores what it was asked itself: leave base, "
                "model and system_prompt out."
            )
        self.base, self.tokenizer, self.online = base, tokenizer, online
        self.system_prompt, self.append_eos, self.progress = system_prompt, append_eos, progress
        self.eos_token_ids = set(eos_token_ids) if eos_token_ids is not None else end_token_ids(base, tokenizer)

    @property
    def alphas(self) -> tuple[float, ...]:
        """The temperatures at which `values` needs soft values; a subclass may say it by an attribute of its class."""
        return ()

    @abstractmethod
    def values(self, scores: TokenScores, complete: bool) -> Tensor:
        """What each token of one response adds to its reward, (T,) fp32 nats on the scores' device.

        Args:
            scores: the frozen base's, with soft values at `alphas` and, if `distribution`, entropies.
            complete: whether the response ended with an end token.
        """

    def score(self, prompts: Sequence, responses: Sequence) -> list[float]:
        """The reward of each response, in nats.

        Args:
            prompts: str (tokenised as it stands, no template) or chat messages (rendered by the chat template).
            responses: str, or the assistant's chat messages. Prompt and response are tokenised apart.

        Raises:
            ValueError: empty response without end token, no chat template, too long, NaN; see `FrozenBase.score`.
        """
        return [float(r.sum()) for r in self._values(self._score_texts(prompts, responses), None)]

    def __call__(self, prompts, completions, completion_ids=None, **kwargs) -> list[float]:
        """TRL's reward-function interface: one reward per completion, in nats.

        With `completion_ids` the trainer's own tokens are scored as they are; a completion whose last id is no end
        token was cut off, and is not treated as complete. `frozen_scores` (a column that this project's trainers add)
        spares the forward altogether; one that is `online` reads the column `policy_scores`. With tools or an
        environment the column `own_tokens` says which tokens are the policy's; the others earn nothing.
        """
        return [float(r.sum()) for r in self.per_token(prompts, completions, completion_ids, **kwargs)]

    def per_token(
        self,
        prompts,
        completions,
        completion_ids=None,
        frozen_scores=None,
        policy_scores=None,
        own_tokens=None,
        **_,
    ):
        """Like a call, but a list of the reward of each token, (T_i,) fp32 on the CPU, which sums to the call's.

        Raises:
            ValueError: completions in which a tool or an environment speaks, without `own_tokens`.
        """
        check_own_tokens(completions, own_tokens, type(self).__name__)
        if self.online:
            if policy_scores is None:
                raise ValueError(
                    f"This {type(self).__name__} is online: it reads the policy's statistics, which only this "
                    "project's trainers hand out. Leave online out to score with a frozen base."
                )
            return self._values(policy_scores, self._complete(completion_ids, own_tokens), own_tokens)
        if completion_ids is None:
            return self._values(self._score_texts(prompts, completions), None)
        if self.across is not None:
            if own_tokens is not None:
                raise ValueError(
                    f"{type(self).__name__} has another tokenizer than the policy, and responses hold what tools or "
                    "an environment said: use a model with the policy's tokenizer."
                )
            return self.across.per_token(prompts, completion_ids, self._judge)
        complete = self._complete(completion_ids, own_tokens)
        if frozen_scores is not None and frozen_scores[0].base is self.base and self.system_prompt is None:
            return self._values(frozen_scores, complete, own_tokens)
        check_same_tokenizer(self.tokenizer, completions, completion_ids)
        return self._judge(prompts, completion_ids, complete, own_tokens)

    def _complete(self, completion_ids: Sequence, own_tokens: Sequence | None) -> list[bool]:
        """Whether each response ends with an end token of the policy's own."""
        own_tokens = own_tokens or [[1]] * len(completion_ids)
        return [bool(own[-1]) and ids[-1] in self.eos_token_ids for ids, own in zip(completion_ids, own_tokens)]

    def _judge(self, prompts: Sequence, response_ids: Sequence, complete: Sequence[bool], own=None) -> list[Tensor]:
        scores = self._forward([self._encode_prompt(p) for p in prompts], response_ids)
        return self._values(scores, complete, own)

    def _values(
        self, scores: Sequence[TokenScores], complete: Sequence[bool] | None, own_tokens: Sequence | None = None
    ) -> list[Tensor]:
        """(T_i,) a response: what each token earns, 0 on tokens that are not the policy's."""
        complete = [True] * len(scores) if complete is None else complete
        if own_tokens is None:
            rows = [self.values(s, c) for s, c in zip(scores, complete)]
        else:
            masks = [torch.as_tensor(own, dtype=torch.bool) for own in own_tokens]
            rows = []
            for s, c, own in zip(scores, complete, masks, strict=True):
                row = torch.zeros(len(own), device=s.q.device)
                if bool(own.any()):
                    row[own.to(row.device)] = self.values(s.own(own), c)
                rows.append(row)
        # one transfer for all rows
        return list(torch.cat(rows).cpu().split([len(row) for row in rows])) if rows else []

    def _score_texts(self, prompts: Sequence, responses: Sequence) -> list[TokenScores]:
        if self.online:
            raise ValueError(f"This {type(self).__name__} is online, and there is no policy here: leave online out.")
        check_lists(prompts, responses)
        prompt_ids = [self._encode_prompt(p) for p in prompts]
        return self._forward(prompt_ids, [encode_response(self.tokenizer, r, self.append_eos) for r in responses])

    def _forward(self, prompt_ids: Sequence, response_ids: Sequence) -> list[TokenScores]:
        if self.base is None:
            raise ValueError(
                f"This {type(self).__name__} has no frozen base: build it with from_pretrained(name_or_path), or give "
                "it to this project's trainers, which lend it theirs."
            )
        return self.base.score(
            prompt_ids, response_ids, self.alphas, distribution=self.distribution, progress=self.progress
        )

    def _encode_prompt(self, prompt) -> list[int]:
        if self.tokenizer is None:
            raise ValueError(
                f"{type(self).__name__} needs a tokenizer to read texts: pass tokenizer=, or use from_pretrained."
            )
        return encode_prompt(self.tokenizer, prompt, self.system_prompt)


def end_token_ids(base: FrozenBase | None, tokenizer) -> set[int]:
    """Every id that ends a response: the tokenizer's end token and those of the model's generation config."""
    ids = {tokenizer.eos_token_id} if tokenizer is not None else set()
    if base is not None:
        declared = base.generation_eos
        ids.update([declared] if isinstance(declared, int) else declared or [])
    return ids - {None}
