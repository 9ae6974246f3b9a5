"""A rollout: how its prompts become token ids, what is known of it step by step, and what is logged of it.

A response may hold tokens that are not the policy's: what a tool returned, or what an environment said between two
turns. They are read by every model, but nothing is earned, learned or counted on them. So a sum over tokens is always
a sum over a mask of the policy's own tokens, which may have holes.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOTrainer
from trl.trainer.utils import nanstd

from rewards import TokenScores
from rewards.frozen.encoding import encode_prompt, own_ids
from rewards.frozen.messages import Rendering, rendering_of
from rewards.lens import token_texts, visible
from rewards.steps import turns
from train.ppo_math import kl_k1, kl_k3, moments, repetition_rate

if TYPE_CHECKING:
    from train.heldout import HeldOut
    from train.reward_mix import RewardMix

logger = logging.getLogger(__name__)

NOT_YET: Any = None  # of a field that a later step of the rollout fills, which no earlier one reads


@dataclass
class Rollout:
    """All that is known of the B responses of a rollout on this process, where all processes together have N.

    T_i are the tokens of response i, T those of the padded batch (padding on the right). Rewards, values, returns,
    advantages and log-probabilities are fp32; rewards are in the unit of their function, nats for EndoRM, the rest in
    nats. What is not known yet is None or empty.

    Attributes:
        prompt_ids, response_ids: B lists of unpadded token ids, the end token included where there was one.
        own: B tensors (T_i,) bool on the CPU, true on the policy's own tokens.
        has_holes: whether any token of this rollout can be another's than the policy's.
        cut_off: (B,) bool, whether a response was stopped before the policy ended it: its last token is no end token
            of the policy's own.
        training: whether the policy is trained on it; false for an evaluation.
        first: place of this process's first response among those of all processes.
        frozen: B scores of the frozen base, over all tokens.
        policy: B scores of the policy itself where online rewards want them, over all tokens.
        raw_rewards: (N, F) of F reward functions, NaN where one does not apply.
        rewards: (N, F) the same as they are learned from: shaped, and NaN throughout a row that teaches nothing.
        weights: (F,) of the functions.
        without_reward: (N,) bool, responses to which no function of a weight other than 0 applies; they teach nothing.
        token_rewards: for PPO, of functions that judge token by token, by their index: (B, T) shaped rewards without
            weights, NaN where there is none.
        mask: (B, T) 1 on the tokens that are learned from: the policy's own, without padding, without responses that
            are left out (cut off, if the recipe says so, or without a reward).
        log_probs, ref_log_probs: (B, T) of the policy that made the rollout, and of the frozen base.
        loss_log_probs: (b, T) of the policy at the slice of b responses whose loss was computed last.
        values, advantages, returns: (B, T), 0 outside the mask.
    """

    prompt_ids: list[list[int]]
    response_ids: list[list[int]]
    own: list[Tensor]
    has_holes: bool
    cut_off: Tensor
    training: bool
    first: int = 0
    frozen: list[TokenScores] = field(default_factory=list)
    policy: list[TokenScores] = field(default_factory=list)
    raw_rewards: Tensor = NOT_YET
    rewards: Tensor = NOT_YET
    weights: Tensor = NOT_YET
    without_reward: Tensor = NOT_YET
    token_rewards: dict[int, Tensor] = field(default_factory=dict)
    mask: Tensor = NOT_YET
    log_probs: Tensor = NOT_YET
    ref_log_probs: Tensor = NOT_YET
    loss_log_probs: Tensor = NOT_YET
    values: Tensor = NOT_YET
    advantages: Tensor = NOT_YET
    returns: Tensor = NOT_YET

    def __len__(self) -> int:
        return len(self.response_ids)

    @property
    def mode(self) -> str:
        """Under which of its two names TRL keeps the metrics."""
        return "train" if self.training else "eval"

    @property
    def own_lengths(self) -> list[int]:
        """How many tokens of each response are the policy's own."""
        return [int(own.sum()) for own in self.own]

    @property
    def own_ids(self) -> list[Sequence[int]]:
        """The policy's own token ids of each response, as if they followed one another."""
        return own_ids(self.response_ids, [mask.tolist() for mask in self.own] if self.has_holes else None)

    def local(self, x: Tensor) -> Tensor:
        """This process's B rows of a tensor (N, ...) of all processes."""
        return x[self.first : self.first + len(self)]

    def pad(self, rows: Sequence[Tensor], width: int, value: float = 0.0) -> Tensor:
        """(B, width) from B rows of T_i numbers."""
        padded = pad_sequence(list(rows), batch_first=True, padding_value=value)
        return nn.functional.pad(padded, (0, width - padded.shape[1]), value=value)

    def columns(self) -> list[dict]:
        """What reward functions get beside the data's columns, a dict a response."""
        rows: list[dict] = [{"frozen_scores": scores} for scores in self.frozen]
        for row, scores in zip(rows, self.policy):
            row["policy_scores"] = scores
        if self.has_holes:
            for row, own in zip(rows, self.own):
                row["own_tokens"] = own.tolist()
        return rows


def begin(
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    tool_mask: Sequence[Sequence[int]] | None,
    eos_token_ids: Sequence[int],
    training: bool,
    process_index: int = 0,
    device: torch.device | str = "cpu",
) -> Rollout:
    """A rollout of which no more is known than what was generated.

    Args:
        tool_mask: as TRL gives it, 1 on the policy's own tokens of each response; None where all are.
        eos_token_ids: ids by which the policy ends a response.
    """
    if tool_mask is None:
        own = [torch.ones(len(ids), dtype=torch.bool) for ids in response_ids]
    else:
        own = [torch.as_tensor(mask, dtype=torch.bool) for mask in tool_mask]
    cut_off = [not (bool(mask[-1]) and ids[-1] in eos_token_ids) for ids, mask in zip(response_ids, own)]
    return Rollout(
        prompt_ids=[list(ids) for ids in prompt_ids],
        response_ids=[list(ids) for ids in response_ids],
        own=own,
        has_holes=tool_mask is not None,
        cut_off=torch.tensor(cut_off, device=device),
        training=training,
        first=process_index * len(response_ids),
    )


def response_mask(batch: dict) -> torch.Tensor:
    """(B, T): 1 on tokens of the policy's own, without padding, tool results and responses left out by TRL."""
    return batch["completion_mask"] * batch.get("tool_mask", 1)


def last_own(mask: Tensor) -> Tensor:
    """(B,) place of the last token of each row of a mask (B, T); 0 where a row has none."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask.bool(), places, 0).amax(dim=1)


def without_reward(raw_rewards: Tensor, weights: Tensor) -> Tensor:
    """(N,) bool: to which responses no reward applies that the policy would learn from.

    Args:
        raw_rewards: (N, F), NaN where a function does not apply.
        weights: (F,). A function of weight 0 is only logged, so it makes no reward of a response that has none. If all
            weights are 0, all functions count.
    """
    counts = weights.to(raw_rewards.device) != 0
    return raw_rewards[:, counts if bool(counts.any()) else ~counts].isnan().all(dim=1)


class PromptMixin(GRPOTrainer):
    """A `trl.GRPOTrainer` whose prompts become token ids by `encode_prompt`, as everything else in this project reads
    them, and whose reward functions get the column `rendering`.

    TRL renders a batch of prompts by itself, with `chat_template_kwargs` of its config and the tools of the trainer.
    It does not read the columns `tools` and `chat_template_kwargs` of a dataset, shows nothing (or Python's list) of
    contents that are lists of parts where the template expects text, opens a second turn after a prompt that ends in a
    message of the assistant's, and lets a text begin with two BOS tokens.
    """

    _rows: Sequence[Mapping[str, Any]] | None = None  # of the dataset, one a response

    def _generate_and_score_completions(self, inputs):
        self._rows = inputs
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: list):
        ids = [
            encode_prompt(self._tokenizer, p, **how) for p, how in zip(prompts, self.renderings(prompts), strict=True)
        ]
        return ids, None, {}  # no images: only causal LMs of text are trained

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        inputs = [{**row, "rendering": how} for row, how in zip(inputs, self.renderings(prompts), strict=True)]
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def renderings(self, prompts: Sequence) -> list[Rendering]:
        """How each prompt of the current rollout is rendered: by its row, over the run's settings.

        Raises:
            ValueError: a row has tools in a column, and the trainer has tools too.
        """
        rows: Sequence[Mapping[str, Any]] = self._rows or ()
        if len(rows) != len(prompts):  # a rollout_func of the user's asks for other prompts
            rows = [{}] * len(prompts)
        result = []
        for i, row in enumerate(rows):
            how = rendering_of(row, self.chat_template_kwargs)
            if tools := self._tools_of(i):
                if how.get("tools"):
                    raise ValueError(
                        "The trainer has tools that it runs, and the dataset has a column tools, which are only "
                        "shown: leave out one of the two, or rename the column."
                    )
                how["tools"] = tools
            if self.chat_template is not None:
                how["chat_template"] = self.chat_template
            result.append(how)
        return result

    def _tools_of(self, i: int) -> list:
        if self.environment_factories is None:
            return self.tools
        names = getattr(self, "_batch_environments", ())  # there from the first rollout on
        return self._env_tools[names[i]] if i < len(names) else self.tools


class RolloutLogMixin(GRPOTrainer):
    """Logs of an `EndoGRPOTrainer`: each method reads the trainer's rollout, none changes it."""

    model: nn.Module
    rollout: Rollout
    mix: RewardMix | None
    heldout: HeldOut | None
    _logs: dict[str, Any]

    def _sum_over_processes(self, x: Tensor) -> Tensor:
        return x if self.accelerator.num_processes == 1 else self.accelerator.reduce(x, reduction="sum")

    def _log_scalars(self, scalars: Mapping[str, Tensor]) -> None:
        """Metrics by their names, fetched from the device together."""
        mode = "train" if self.model.training else "eval"
        for name, value in zip(scalars, torch.stack([x.float() for x in scalars.values()]).tolist()):
            self._metrics[mode][name].append(value)

    def _log_responses(self) -> None:
        rollout = self.rollout
        if self.mix is not None or bool(rollout.without_reward.any()):
            self._log_raw_rewards()
        ids = [torch.tensor(row, device=rollout.cut_off.device) for row in rollout.own_ids]
        width = max(map(len, ids))
        repetition = repetition_rate(
            rollout.pad(ids, width, -1).long(), rollout.pad([torch.ones_like(row) for row in ids], width)
        )
        silent = rollout.local(rollout.without_reward)
        per_response = {"eos_rate": ~rollout.cut_off, "repetition_rate": repetition, "without_reward": silent}
        if rollout.has_holes:
            counts = [int(turns(own)[-1]) + 1 if own.any() else 0 for own in rollout.own]
            per_response["turns"] = torch.tensor(counts, device=repetition.device)
        ones, add_up = torch.ones_like(repetition), self._sum_over_processes
        self._log_scalars({f"completions/{k}": moments(x.float(), ones, add_up)[1] for k, x in per_response.items()})
        if not rollout.training and self.heldout is not None:
            lengths = repetition.new_tensor(rollout.own_lengths)
            table = torch.stack([lengths, *(x.float() for x in per_response.values())], dim=1)
            columns = zip(("length", *per_response), self.accelerator.gather(table).unbind(dim=1))
            self.heldout.add(rollout, dict(columns))

    def _log_raw_rewards(self) -> None:
        """TRL logged the rewards that it learns from: put the raw ones under their names, the shaped beside them."""
        rollout, log = self.rollout, self._metrics[self.rollout.mode]
        raw, learned = rollout.raw_rewards, rollout.rewards
        columns = torch.stack([raw.nanmean(0), nanstd(raw, dim=0), learned.nanmean(0)], dim=1).tolist()
        for i, name in enumerate(self.reward_func_names):
            mean, std, learned_mean = columns[i]
            log[f"rewards/{name}/mean"][-1], log[f"rewards/{name}/std"][-1] = mean, std
            replace_last(self._logs["rewards"][name], raw[:, i].tolist())
            if self.mix is None or i >= len(self.mix.shapings):
                continue
            shaping = self.mix.shapings[i]
            optional = {
                "shaped_mean": learned_mean if shaping.reshapes and not math.isnan(learned_mean) else None,
                "length_slope": shaping.slope,
                "weight": shaping.weight_at(self.state.global_step) if shaping.anneal else None,
            }
            for key, value in optional.items():
                if value is not None:
                    log[f"rewards/{name}/{key}"].append(value)

    def _log_kl(self, batch, log_probs: torch.Tensor) -> None:
        """Log k1 and k3, means over tokens, of the policy that made the rollout against the frozen base."""
        mask, both = response_mask(batch), (log_probs.float(), batch["ref_per_token_logps"])
        kls = {"kl/k1": kl_k1(*both), "kl/k3": kl_k3(*both)}
        self._log_scalars({name: moments(kl, mask, self._sum_over_processes)[1] for name, kl in kls.items()})

    def _log_tokens(self, rewards: Sequence[Tensor] | None) -> None:
        """Columns for the table of completions: what the frozen base thinks of each token, and beside it what the
        token earns, (T_i,) a response in `rewards`, if there is a reward that says so."""
        rollout = self.rollout
        numbers = {"log_prob_tokens": [scores.log_probs for scores in rollout.frozen]}
        if rewards is not None:
            numbers["endorm_tokens"] = list(rewards)
        texts = [token_texts(self._tokenizer, ids) for ids in rollout.response_ids]
        for column, rows in numbers.items():
            self._log_completion_extra(column, [beside(*x) for x in zip(texts, rows, rollout.own, strict=True)])

    def _warn_if_equal(self, rollout: Rollout) -> None:
        total = (rollout.rewards * rollout.weights).nansum(dim=1)
        if rollout.training and len(total) > 1 and bool((total == total[0]).all()):
            logger.warning(
                "Step %d: all %d rewards of this rollout are equal (%.4g), so they teach nothing. If this goes on, "
                "raise the temperature, look at the completions, or choose another reward.",
                self.state.global_step,
                len(total),
                total[0].item(),
            )


def beside(texts: Sequence[str], numbers: Tensor, own: Tensor) -> str:
    """The texts of a response's T tokens, each with its number: `It:-4.40│ is:-3.10│ 9:-8.31`. What is not the
    policy's `own`, (T,) bool, has none."""
    rows = zip(texts, numbers.tolist(), own.tolist(), strict=True)
    return "│".join((visible(text) or "⋯") + (f":{number:+.2f}" if mine else "") for text, number, mine in rows)


def replace_last(rows: deque, values: list) -> None:
    """Put values in place of as many last ones of a deque."""
    for _ in range(min(len(rows), len(values))):
        rows.pop()
    rows.extend(values)
