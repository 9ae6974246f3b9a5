"""What the trainers log of a rollout beside TRL's own metrics."""

import logging
import math

import torch
from trl.trainer.utils import nanstd

from train.ppo_math import kl_k1, kl_k3, moments, repetition_rate
from train.rollout import Rollout, response_mask

logger = logging.getLogger(__name__)


class RolloutLogMixin:
    """Logs of an `EndoGRPOTrainer`: each method reads the trainer's rollout, none changes it."""

    def _log_responses(self) -> None:
        rollout, log = self.rollout, self._metrics[self.rollout.mode]
        if self.mix is not None or bool(rollout.without_reward.any()):
            self._log_raw_rewards()
        ids = [torch.tensor(row, device=rollout.cut_off.device) for row in rollout.own_ids]
        width = max(map(len, ids))
        repetition = repetition_rate(
            rollout.pad(ids, width, -1).long(), rollout.pad([torch.ones_like(row) for row in ids], width)
        )
        silent = rollout.local(rollout.without_reward)
        per_response = {"eos_rate": ~rollout.cut_off, "repetition_rate": repetition, "without_reward": silent}
        for name, x in per_response.items():
            mean = moments(x.float(), torch.ones_like(repetition), self._sum_over_processes)[1]
            log[f"completions/{name}"].append(mean.item())
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
        mode, mask = "train" if self.model.training else "eval", response_mask(batch)
        for name, estimator in (("k1", kl_k1), ("k3", kl_k3)):
            kl = estimator(log_probs.float(), batch["ref_per_token_logps"])
            self._metrics[mode][f"kl/{name}"].append(moments(kl, mask, self._sum_over_processes)[1].item())

    def _show(self, ids: list[int], rewards: torch.Tensor) -> str:
        """A response's tokens with their rewards, `token:+0.12 ...`, for the table of completions."""
        tokens = self._tokenizer.convert_ids_to_tokens(ids)
        return " ".join(f"{t}:{r:+.2f}" for t, r in zip(tokens, rewards.tolist()))

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


def replace_last(rows, values: list) -> None:
    """Put values in place of as many last ones of a deque."""
    for _ in range(min(len(rows), len(values))):
        rows.pop()
    rows.extend(values)
