"""PPO on TRL's GRPO trainer: token-level rewards, GAE and a critic, in thin overrides.

Inherited from TRL: text and chat prompts, generation (transformers, vLLM), PEFT, the clipped policy loss (which takes
advantages of shape (B, T)), checkpoints, logging. Added here: what happens between the rollout and the loss.
"""

import os
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import cast

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl import GRPOConfig

from train.critic import Critic, CriticLearner, state_keys
from train.grpo_trainer import EndoGRPOConfig, EndoGRPOTrainer
from train.ppo_math import explained_variance, gae, kl_k1, moments, whiten
from train.reward_adapter import TokenReward
from train.rollout import NOT_YET, Rollout, last_own, replace_last

# settings of GRPO that nothing reads when advantages come from a critic and the KL term lies in the rewards
WITHOUT_EFFECT = {
    "scale_rewards": "whiten_advantages and whiten_floor scale PPO's advantages",
    "multi_objective_aggregation": "rewards are added; normalise, in an entry of rewards, scales one of them",
    "use_bias_correction_kl": "the KL penalty is in the rewards, where nothing has to be corrected",
}


@dataclass
class PPOConfig(EndoGRPOConfig):
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
            "help": "Taken from the reward of the last own token of a response that was cut off (nats). To leave such "
            "a response out of the loss altogether use mask_truncated_completions."
        },
    )
    critic_learning_rate: float = field(default=1e-3, metadata={"help": "Of the critic's AdamW."})
    critic_width: int = field(default=256, metadata={"help": "Hidden units of the critic's MLP."})
    critic_epochs: int = field(default=4, metadata={"help": "Passes of the critic over each rollout."})
    critic_minibatches: int = field(default=4, metadata={"help": "Optimizer steps in each of these passes."})
    value_clip_range: float | None = field(
        default=0.5,
        metadata={
            "help": "How far a fit may move a value from the rollout's, in units of the running spread of returns; "
            "null for no clip."
        },
    )

    def __post_init__(self):
        if self.reward_placement not in ("dense", "terminal"):
            raise ValueError(f"reward_placement is {self.reward_placement!r}; set it to 'dense' or 'terminal'.")
        if self.beta != 0.0:
            raise ValueError("PPO puts the KL penalty into the rewards: set kl_coef, and leave beta at 0.")
        defaults = {f.name: f.default for f in fields(GRPOConfig) if f.default is not MISSING}
        for name, instead in WITHOUT_EFFECT.items():
            if getattr(self, name) != defaults[name]:
                raise ValueError(f"{name} has no effect in PPO: {instead}. Leave {name} out.")
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

    **Where a response ends.** For the returns it ends with its last own token, whether the policy ended it or the
    length limit cut it off: there is no value beyond. A reward of one number a response is paid on that token, and is
    the whole of what the response earns; the critic's estimate of what might have come would be paid on top of it,
    and being cut off would be worth twice as much as ending. Nor is there such a value for rewards token by token:
    the critic is fitted to returns, and no return is ever seen from the state in which a response was cut off, so its
    value there would be a guess that feeds on itself (with gamma 1 returns drift without bound). The reward itself
    knows that a response was cut off: EndoRM's last soft value is then the frozen base's own, not the terminal one.

    Args: as `EndoGRPOTrainer`, with a `PPOConfig`. A reward function may return one number per response, which goes to
    its last own token, or a list of one number per token. A response to which no reward applies (`None`) teaches
    nothing: neither the policy nor the critic.
    """

    wants_hidden = True
    config_class = PPOConfig
    args: PPOConfig
    _tag_names = ["trl", "ppo", "endorm"]
    _name = "PPO"

    def __init__(self, model, reward_funcs=None, args: PPOConfig | None = None, **kwargs):
        self.dense_rewards = (args or PPOConfig).reward_placement == "dense"
        super().__init__(model, reward_funcs, args, **kwargs)
        settings = self.args
        # V(s) is the shaping potential of the dense undiscounted Q - V reward, see Critic
        endorm, coefficient = self._endorm, 0.0
        if self.dense_rewards and endorm and (endorm.form, endorm.reduce, endorm.discount) == ("reward", "sum", 1.0):
            coefficient = self._unshaped_weight(endorm)
        hidden_size = cast(PreTrainedModel, self.model).config.get_text_config().hidden_size
        critic = Critic(hidden_size, settings.critic_width, coefficient, settings.seed).to(self.accelerator.device)
        self.critic = CriticLearner(
            critic,
            settings.critic_learning_rate,
            settings.critic_epochs,
            settings.critic_minibatches,
            settings.value_clip_range,
            self._sum_over_processes,
        )
        set_seed(settings.seed, device_specific=True)  # the critic's first weights drew random numbers too

    def _unshaped_weight(self, reward) -> float:
        """The weight of a reward whose tokens are learned from as they are, 0 if they are shaped or aggregated."""
        for i, (func, weight) in enumerate(zip(self.reward_funcs, self.reward_weights.tolist())):
            if isinstance(func, TokenReward) and func.func is reward:
                return 0.0 if self.mix is not None and self.mix.shapings[i].reshapes else weight
        return 0.0

    # ------------------------------------------------------------------ rollout -> advantages

    def _token_rewards(self, rollout: Rollout) -> dict[int, Tensor]:
        device = self.accelerator.device
        here = [isinstance(f, TokenReward) and f.per_token for f in self.reward_funcs]
        # the same functions on every process, though one may have None alone
        per_token = self._sum_over_processes(torch.tensor(here, device=device).int()) > 0
        width = max(map(len, rollout.response_ids))
        return {
            i: rollout.pad(self.reward_funcs[i].token_rows(rollout.own), width, torch.nan).to(device)
            for i in per_token.nonzero()[:, 0].tolist()
        }

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        if "old_per_token_logps" not in output:
            output["old_per_token_logps"] = self._policy_log_probs(output)
            self._log_kl(output, output["old_per_token_logps"])
        self.rollout = replace(self.rollout, log_probs=output["old_per_token_logps"].float())
        rewards = self._summed_rewards(self.rollout)
        states = self._states(self.rollout, rewards)
        self.rollout, spread = self._with_advantages(self.rollout, rewards, states)
        output["advantages"] = self.rollout.advantages
        self._log_token_rewards(self.rollout, rewards)
        self._log_values(self.rollout, spread)
        if self.rollout.training:
            self._fit_critic(self.rollout, states)
        if self.num_generations == 1:
            self._metrics[self.rollout.mode].pop("frac_reward_zero_std", None)  # groups of one never have a spread
        self.rollout = NOT_YET  # its hidden states are no longer needed
        return output

    def _states(self, rollout: Rollout, rewards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (M, H), soft values (M,) and the critic's values (M,) of the states before all M tokens."""
        hidden = torch.cat([s.hidden[:-1] for s in rollout.frozen if s.hidden is not None])
        soft_values = torch.cat([s.v[self.alphas[0]][:-1] for s in rollout.frozen])
        with torch.no_grad():
            values = self.critic.critic(hidden, soft_values)
        if rollout.training:
            advantages, _ = self._gae(rollout, rewards, values, lam=1.0)
            values = values + self.critic.critic.start(advantages[rollout.mask.bool()], self._sum_over_processes)
        return hidden, soft_values, values

    def _gae(self, rollout: Rollout, rewards: Tensor, values: Tensor, lam: float) -> tuple[Tensor, Tensor]:
        """Advantages and returns (B, T) from rewards (B, T) and the values (M,) of all states."""
        padded = rollout.pad(values.split([len(ids) for ids in rollout.response_ids]), rewards.shape[1])
        nothing_beyond = torch.zeros(len(rewards), device=rewards.device)  # see the class's docstring
        return gae(rewards, padded, nothing_beyond, rollout.mask, self.args.gamma, lam)

    def _with_advantages(self, rollout: Rollout, rewards: Tensor, states: tuple) -> tuple[Rollout, Tensor]:
        """The rollout with values, returns and advantages, and the advantages' std before whitening."""
        advantages, returns = self._gae(rollout, rewards, states[2], self.args.lam)
        white, spread = whiten(advantages, rollout.mask, self.args.whiten_floor, self._sum_over_processes)
        learned = white if self.args.whiten_advantages else advantages
        return replace(rollout, values=returns - advantages, returns=returns, advantages=learned), spread

    def _summed_rewards(self, rollout: Rollout) -> Tensor:
        """(B, T): every reward function's tokens, weighted and added, minus the KL penalty; sequence rewards on the
        last own token."""
        mask, rewards = rollout.mask, rollout.local(rollout.rewards)
        total = torch.zeros(mask.shape, device=mask.device)
        index, ends = torch.arange(len(mask), device=mask.device), last_own(mask)
        for i, weight in enumerate(rollout.weights.tolist()):
            if i in rollout.token_rewards:
                tokens = rollout.token_rewards[i].nan_to_num()  # NaN: does not apply
                total += weight * nn.functional.pad(tokens, (0, mask.shape[1] - tokens.shape[1]))
            else:
                total[index, ends] += weight * rewards[:, i].nan_to_num()
        total[index, ends] -= self.args.missing_eos_penalty * rollout.cut_off
        k1 = kl_k1(rollout.log_probs, rollout.ref_log_probs)
        return (total - self.args.kl_coef * k1) * mask

    def _fit_critic(self, rollout: Rollout, states: tuple[Tensor, Tensor, Tensor]) -> None:
        """On the states before the tokens that are learned from."""
        lengths = [len(ids) for ids in rollout.response_ids]
        keep = torch.cat([row[:length] for row, length in zip(rollout.mask.bool(), lengths)])
        keys = state_keys(rollout.prompt_ids, rollout.response_ids).to(keep.device)
        hidden, soft_values, values = (x[keep] for x in states)
        fitted = self.critic.fit(hidden, soft_values, values, rollout.returns[rollout.mask.bool()], keys[keep])
        for name, value in fitted.items():
            self._metrics["train"][name].append(value)

    def _log_token_rewards(self, rollout: Rollout, rewards: Tensor) -> None:
        mask = rollout.mask
        ones = torch.ones(len(mask), device=mask.device)
        metrics: dict[str, Tensor] = {}
        for name, x, m in (
            ("token_rewards", rewards, mask),
            ("response_rewards", (rewards * mask).sum(1), ones),
            ("returns", rollout.returns, mask),
        ):
            _, mean, variance = moments(x, m, self._sum_over_processes)
            metrics |= {f"{name}/mean": mean, f"{name}/std": variance.sqrt()}
        self._log_scalars(metrics)

    def _log_values(self, rollout: Rollout, spread: Tensor) -> None:
        mask, add_up = rollout.mask, self._sum_over_processes
        explained = explained_variance(rollout.values, rollout.returns, mask, add_up)
        values = {"values/mean": moments(rollout.values, mask, add_up)[1], "critic/explained_variance": explained}
        self._log_scalars(values | {"advantages/std": spread})
        per_response = (rollout.advantages * mask).sum(1) / mask.sum(1).clamp(min=1)
        replace_last(self._logs["advantages"], self.accelerator.gather(per_response).tolist())  # TRL's are GRPO's

    # ------------------------------------------------------------------ checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            self.critic.save(output_dir or self.args.output_dir or ".")

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.critic.load(checkpoint)
