"""PPO on TRL's GRPO trainer: token-level rewards, GAE and a critic, in thin overrides.

Inherited from TRL: text and chat prompts, generation (transformers, vLLM), PEFT, the clipped policy loss (which takes
advantages of shape (B, T)), checkpoints, logging. Added here: what happens between the rollout and the loss.
"""

import os
from dataclasses import dataclass, field

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOConfig

from train.critic import Critic, CriticLearner
from train.grpo_trainer import EndoGRPOTrainer, response_mask
from train.ppo_math import explained_variance, gae, kl_k1, moments, whiten
from train.token_reward import TokenReward


@dataclass
class PPOConfig(GRPOConfig):
    """TRL's GRPOConfig with PPO's settings. PPO's epochs are `num_iterations`, its clip range is `epsilon`, its
    minibatches are `steps_per_generation / gradient_accumulation_steps`; one rollout per prompt is the default."""

    num_generations: int = field(default=1, metadata={"help": "Rollouts per prompt; 1 is usual for PPO."})
    reward_placement: str = field(
        default="dense",
        metadata={
            "help": "dense: each token gets its own endogenous reward. terminal: their aggregate on the last token.",
            "choices": ["dense", "terminal"],
        },
    )
    kl_coef: float = field(
        default=0.01, metadata={"help": "Coefficient of the k1 KL penalty to the frozen base in each token's reward."}
    )
    gamma: float = field(default=1.0, metadata={"help": "Discount a token, in returns and GAE."})
    lam: float = field(default=0.95, metadata={"help": "Lambda of GAE: 1 is Monte Carlo, 0 is one-step TD."})
    whiten_advantages: bool = field(
        default=True, metadata={"help": "Shift and scale advantages to mean 0 and std 1 over the whole rollout."}
    )
    whiten_floor: float = field(
        default=0.1,
        metadata={
            "help": "Least std (nats) that whitening divides by, so that a nearly deterministic policy does not get "
            "its last noise blown up."
        },
    )
    missing_eos_penalty: float = field(
        default=0.0,
        metadata={
            "help": "Taken from the reward of the last token of a response that was cut off (nats). Such a response "
            "is bootstrapped: its last soft value and its last value are read from the models. To leave it out of "
            "the loss altogether use mask_truncated_completions."
        },
    )
    critic_learning_rate: float = field(default=1e-3, metadata={"help": "Of the critic's AdamW."})
    critic_width: int = field(default=256, metadata={"help": "Hidden units of the critic's MLP."})
    critic_epochs: int = field(default=4, metadata={"help": "Passes of the critic over each rollout."})
    critic_minibatches: int = field(default=4, metadata={"help": "Optimizer steps in each of these passes."})
    value_clip_range: float | None = field(
        default=0.5,
        metadata={
            "help": "How far a fit may move a value from the rollout's, in units of the spread of returns in the "
            "first rollout; null for no clip."
        },
    )

    def __post_init__(self):
        if self.reward_placement not in ("dense", "terminal"):
            raise ValueError(f"reward_placement is {self.reward_placement!r}; set it to 'dense' or 'terminal'.")
        if self.beta != 0.0:
            raise ValueError("PPO puts the KL penalty into the rewards: set kl_coef, and leave beta at 0.")
        if not 0 <= self.gamma <= 1 or not 0 <= self.lam <= 1:
            raise ValueError(f"gamma and lam must lie in [0, 1], got {self.gamma} and {self.lam}.")
        if self.whiten_floor <= 0 or self.critic_epochs < 1 or self.critic_minibatches < 1:
            raise ValueError("whiten_floor must be positive, critic_epochs and critic_minibatches at least 1.")
        if self.num_generations != 1:
            super().__post_init__()
            return
        # GRPO needs a group per prompt and refuses groups of one. Its other checks pass with the rollout as one group.
        world_size = int(os.environ.get("WORLD_SIZE", 1))  # known to the launcher before TRL has set anything up
        slices = self.steps_per_generation or self.gradient_accumulation_steps
        rollout = self.generation_batch_size or self.per_device_train_batch_size * world_size * slices
        if rollout < 2:
            raise ValueError(
                "A rollout of one response has no spread to learn from: raise per_device_train_batch_size, "
                "gradient_accumulation_steps or steps_per_generation."
            )
        self.num_generations_eval = self.num_generations_eval or 1
        self.num_generations = rollout
        super().__post_init__()
        self.num_generations = 1


class PPOTrainer(EndoGRPOTrainer):
    """PPO with one frozen base as reward, KL reference and source of the critic's features.

    Args: as `EndoGRPOTrainer`, with a `PPOConfig`. A reward function may return one number per response, which goes to
    its last token, or a list of one number per token. `None` counts as 0.
    """

    wants_hidden = True
    _tag_names = ["trl", "ppo", "endorm"]
    _name = "PPO"

    def __init__(self, model, reward_funcs, args: PPOConfig, **kwargs):
        self.dense_rewards = args.reward_placement == "dense"
        super().__init__(model, reward_funcs, args, **kwargs)
        # V(s) is the shaping potential of the dense undiscounted Q - V reward, see Critic
        endorm, coefficient = self._endorm, 0.0
        if self.dense_rewards and endorm and (endorm.form, endorm.reduce, endorm.discount) == ("reward", "sum", 1.0):
            coefficient = self._unshaped_weight(endorm)
        hidden_size = self.model.config.get_text_config().hidden_size
        critic = Critic(hidden_size, args.critic_width, coefficient, args.seed).to(self.accelerator.device)
        self.critic = CriticLearner(
            critic,
            args.critic_learning_rate,
            args.critic_epochs,
            args.critic_minibatches,
            args.value_clip_range,
            self._sum_over_processes,
        )
        set_seed(args.seed, device_specific=True)  # the critic's first weights drew random numbers too

    def _unshaped_weight(self, reward) -> float:
        """The weight of a reward whose tokens are learned from as they are, 0 if they are shaped or aggregated."""
        for i, (func, weight) in enumerate(zip(self.reward_funcs, self.reward_weights.tolist())):
            if isinstance(func, TokenReward) and func.func is reward:
                return 0.0 if self.mix is not None and self.mix.shapings[i].reshapes else weight
        return 0.0

    # ------------------------------------------------------------------ rollout -> advantages

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        first = self.accelerator.process_index * len(prompts)
        self._local_rewards = rewards[first : first + len(prompts)]  # (B, functions), NaN where one does not apply
        return rewards

    def _token_columns(self, lengths: list[int], width: int) -> dict[int, Tensor]:
        per_token = [isinstance(f, TokenReward) and f.per_token for f in self.reward_funcs]
        per_token = self._sum_over_processes(torch.tensor(per_token, device=self.accelerator.device).int()) > 0
        columns = {}
        for i in per_token.nonzero()[:, 0].tolist():  # the same on every process, though one may have None alone
            rows = pad_sequence(self.reward_funcs[i].token_rows(lengths), batch_first=True)
            rows = nn.functional.pad(rows, (0, width - rows.shape[1]))
            columns[i] = self.accelerator.gather(rows.to(self.accelerator.device))
        return columns

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        mode = "train" if self.model.training else "eval"
        mask = response_mask(output)
        if "old_per_token_logps" not in output:
            output["old_per_token_logps"] = self._policy_log_probs(output)
            self._log_kl(output, output["old_per_token_logps"])
        log_probs, ref_log_probs = output["old_per_token_logps"].float(), output["ref_per_token_logps"]
        cut_off = self._cut_off
        k1 = kl_k1(log_probs, ref_log_probs) * mask
        rewards = self._token_rewards(mask, cut_off) - self.args.kl_coef * k1

        hidden = torch.cat([s.hidden for s in self._scores])
        soft_values = torch.cat([s.v[self.alphas[0]] for s in self._scores])
        with torch.no_grad():
            flat = self.critic.critic(hidden, soft_values)
        rows = flat.split([len(s.q) + 1 for s in self._scores])
        values = self._pad([row[:-1] for row in rows], mask)
        last_values = torch.stack([row[-1] for row in rows]) * cut_off
        advantages, returns = gae(rewards, values, last_values, mask, self.args.gamma, self.args.lam)
        output["advantages"], spread = whiten(advantages, mask, self.args.whiten_floor, self._sum_over_processes)
        if not self.args.whiten_advantages:
            output["advantages"] = advantages

        self._log_rollout(mode, mask, rewards, values, returns)
        self._metrics[mode]["advantages/std"].append(spread.item())
        if mode == "train":
            # all states but those after the last token, which have no return, and those left out of the loss
            keep = torch.cat([nn.functional.pad(m[: len(s.q)], (0, 1)) for m, s in zip(mask.bool(), self._scores)])
            fitted = self.critic.fit(hidden[keep], soft_values[keep], flat[keep], returns[mask.bool()])
            for name, value in fitted.items():
                self._metrics[mode][name].append(value)
        if self.num_generations == 1:
            self._metrics[mode].pop("frac_reward_zero_std", None)  # groups of one never have a spread
        per_response = (output["advantages"] * mask).sum(1) / mask.sum(1).clamp(min=1)
        self._logs["advantages"].extend(self.accelerator.gather(per_response).tolist())
        self._scores = []
        return output

    def _token_rewards(self, mask: Tensor, cut_off: Tensor) -> Tensor:
        """(B, T): every reward function's tokens, weighted and added; sequence rewards on the last token."""
        total = torch.zeros(mask.shape, device=mask.device)
        lengths = [len(s.q) for s in self._scores]
        index, ends = torch.arange(len(mask)), torch.tensor(lengths) - 1
        for i, (func, weight) in enumerate(zip(self.reward_funcs, self.reward_weights.tolist())):
            if self.mix is not None and i in self._shaped_tokens:
                total += weight * self._pad(list(self._shaped_tokens[i].nan_to_num()), mask)  # NaN: does not apply
            elif isinstance(func, TokenReward) and func.per_token:
                total += weight * self._pad(func.token_rows(lengths), mask).to(total)
            else:
                total[index, ends] += weight * self._local_rewards[:, i].nan_to_num()  # NaN: does not apply
        total[index, ends] -= self.args.missing_eos_penalty * cut_off
        return total * mask

    def _pad(self, rows: list[Tensor], mask: Tensor) -> Tensor:
        padded = pad_sequence(rows, batch_first=True)
        return nn.functional.pad(padded, (0, mask.shape[1] - padded.shape[1]))

    def _log_rollout(self, mode, mask, rewards, values, returns) -> None:
        add_up = self._sum_over_processes
        ones = torch.ones(len(mask), device=mask.device)
        sums = (rewards * mask).sum(1)
        metrics = {
            "values/mean": moments(values, mask, add_up)[1],
            "critic/explained_variance": explained_variance(values, returns, mask, add_up),
        }
        for name, x, m in (
            ("token_rewards", rewards, mask),
            ("response_rewards", sums, ones),
            ("returns", returns, mask),
        ):
            _, mean, variance = moments(x, m, add_up)
            metrics |= {f"{name}/mean": mean, f"{name}/std": variance.sqrt()}
        for name, value in zip(metrics, torch.stack([*metrics.values()]).tolist()):
            self._metrics[mode][name].append(value)

    # ------------------------------------------------------------------ checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            self.critic.save(output_dir or self.args.output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.critic.load(checkpoint)
