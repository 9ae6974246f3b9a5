"""Rewards that are arithmetic on what a frozen base says of each token: EndoRM and its label-free relatives.

Inside this project's trainers any number of them share the one frozen forward that also gives the KL term. Those that
are `online` read the policy's own statistics in its place, from the forward that gives the policy's log-probs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rewards.frozen.cross_tokenizer import CrossTokenizer
from rewards.frozen.encoding import (
    check_end_token,
    check_lists,
    check_own_tokens,
    check_same_tokenizer,
    encode_prompt,
    encode_response,
    end_token_id,
    template_end,
    warn_of_split,
)
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.loading import FromFrozenBase
from rewards.frozen.messages import Rendering, read_template_kwargs, with_variables
from rewards.frozen.token_scores import TokenScores


class FrozenReward(FromFrozenBase, ABC):
    """A reward function over a frozen base: scores texts or token ids, or serves any TRL trainer. Subclasses say in
    `values` what a token is worth.

    Args:
        base: the frozen base that scores, or None inside this project's trainers, which lend it theirs.
        tokenizer: the base's tokenizer; needed for texts and chat messages, not for token ids with shared scores.
        system_prompt: criterion by which to judge: it replaces the system message that the base reads. The base then
            reads another text than the policy, so the forward cannot be shared with the KL term.
        append_eos: end a response given as text with the end token that `end_token` names.
        end_token: "template", the token by which the chat template ends an answer, such as <|im_end|>, where the
            prompt is chat messages, and the tokenizer's end token where it is text; or "eos", the latter for both.
        chat_template_kwargs: variables for the chat template, such as {"enable_thinking": False}. Inside this
            project's trainers prompts are rendered as the policy's are, and these go over what the run says: another
            text then, and a forward of its own.
        eos_token_ids: ids that end a response; default the tokenizer's, its chat template's and those of the model's
            generation config.
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
        end_token: str = "template",
        chat_template_kwargs: Mapping[str, Any] | str | None = None,
        eos_token_ids: Sequence[int] | None = None,
        progress: bool = False,
        online: bool = False,
    ):
        if online and (base is not None or system_prompt is not None or chat_template_kwargs):
            raise ValueError(
                f"{type(self).__name__}: online means that the policy scores what it was asked itself: leave base, "
                "model, system_prompt and chat_template_kwargs out."
            )
        self.base, self.tokenizer, self.online = base, tokenizer, online
        self.system_prompt, self.append_eos, self.progress = system_prompt, append_eos, progress
        self.end_token = check_end_token(end_token)
        self.chat_template_kwargs = read_template_kwargs(chat_template_kwargs)
        self.eos_token_ids = set(eos_token_ids) if eos_token_ids is not None else end_token_ids(base, tokenizer)

    @property
    def reads_policys_prompt(self) -> bool:
        """Whether it reads a prompt as the policy does, so that it can share the forward for the KL term."""
        return self.system_prompt is None and not self.chat_template_kwargs

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
        environment the column `own_tokens` says which tokens are the policy's; the others earn nothing. The column
        `rendering` says how the policy's prompt was rendered (see `rewards.frozen.messages.Rendering`).
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
        rendering: Sequence[Rendering] | None = None,
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
            return self._values(self._score_texts(prompts, completions, rendering), None)
        if self.across is not None:
            if own_tokens is not None:
                raise ValueError(
                    f"{type(self).__name__} has another tokenizer than the policy, and responses hold what tools or "
                    "an environment said: use a model with the policy's tokenizer."
                )
            # what replaces the policy's own template is none of a teacher's
            renderings: Sequence[Rendering] = rendering or [{}] * len(prompts)
            own: list[Rendering] = [{**how, "chat_template": None} for how in renderings]
            ends = [end_token_id(self.tokenizer, p, self.end_token) for p in prompts]
            return self.across.per_token(self._prompts(prompts, own), completion_ids, self._judge, ends)
        complete = self._complete(completion_ids, own_tokens)
        if frozen_scores is not None and frozen_scores[0].base is self.base and self.reads_policys_prompt:
            return self._values(frozen_scores, complete, own_tokens)
        check_same_tokenizer(self.tokenizer, completions, completion_ids)
        return self._judge(self._prompts(prompts, rendering), completion_ids, complete, own_tokens)

    def _complete(self, completion_ids: Sequence, own_tokens: Sequence | None) -> list[bool]:
        """Whether each response ends with an end token of the policy's own."""
        own_tokens = own_tokens or [[1]] * len(completion_ids)
        return [bool(own[-1]) and ids[-1] in self.eos_token_ids for ids, own in zip(completion_ids, own_tokens)]

    def _judge(self, prompt_ids: Sequence, response_ids: Sequence, complete: Sequence[bool], own=None) -> list[Tensor]:
        return self._values(self._forward(prompt_ids, response_ids), complete, own)

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

    def _score_texts(
        self, prompts: Sequence, responses: Sequence, rendering: Sequence[Rendering] | None = None
    ) -> list[TokenScores]:
        if self.online:
            raise ValueError(f"This {type(self).__name__} is online, and there is no policy here: leave online out.")
        check_lists(prompts, responses)
        prompt_ids = self._prompts(prompts, rendering)
        warn_of_split(self.tokenizer, prompts, responses)
        return self._forward(prompt_ids, [self.response_ids(r, p) for p, r in zip(prompts, responses, strict=True)])

    def _forward(self, prompt_ids: Sequence, response_ids: Sequence) -> list[TokenScores]:
        if self.base is None:
            raise ValueError(
                f"This {type(self).__name__} has no frozen base: build it with from_pretrained(name_or_path), or give "
                "it to this project's trainers, which lend it theirs."
            )
        return self.base.score(
            prompt_ids, response_ids, self.alphas, distribution=self.distribution, progress=self.progress
        )

    def _prompts(self, prompts: Sequence, rendering: Sequence[Rendering] | None) -> list[list[int]]:
        return [self.prompt_ids(p, how) for p, how in zip(prompts, rendering or [{}] * len(prompts), strict=True)]

    def prompt_ids(self, prompt: str | Sequence[dict], rendering: Rendering | None = None) -> list[int]:
        """Token ids of a prompt as this reward reads it: with its system prompt, and rendered as `rendering` and its
        own `chat_template_kwargs` say.

        Raises:
            ValueError: no tokenizer, or as `encode_prompt`.
        """
        if self.tokenizer is None:
            raise ValueError(
                f"{type(self).__name__} needs a tokenizer to read texts: pass tokenizer=, or use from_pretrained."
            )
        how = with_variables(rendering, self.chat_template_kwargs)
        return encode_prompt(self.tokenizer, prompt, self.system_prompt, **how)

    def response_ids(self, response: str | Sequence[dict], prompt: str | Sequence[dict] = "") -> list[int]:
        """Token ids of a response to a prompt given as text, with the end token that `end_token` names."""
        return encode_response(self.tokenizer, response, self.append_eos, prompt, self.end_token)


def end_token_ids(base: FrozenBase | None, tokenizer) -> set[int]:
    """Every id that ends a response: the tokenizer's end token, the one by which its chat template ends an answer, and
    those of the model's generation config."""
    ids = {tokenizer.eos_token_id, template_end(tokenizer)} if tokenizer is not None else set()
    if base is not None:
        declared = base.generation_eos
        ids.update([declared] if isinstance(declared, int) else declared or [])
    return ids - {None}
