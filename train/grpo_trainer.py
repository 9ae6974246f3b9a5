"""GRPO on TRL's trainer with one frozen base for the KL term and every frozen-base reward.

TRL computes reference log-probs in one forward and leaves rewards to find their own. Here one forward of the frozen
base over a rollout gives both; reward functions receive its result as the column `frozen_scores`.

TRL makes a rollout in one long method that calls three others on its way. What they learn is kept in one `Rollout`,
which is filled step by step and put aside when the rollout is done.
"""

import contextlib
import copy
import logging
import os
from collections.abc import Sized
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from accelerate.utils import set_seed
from torch import nn
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing, prepare_deepspeed
from trl.trainer.callbacks import SyncRefModelCallback
from trl.trainer.utils import get_config_model_id, pad

from rewards import EndoRM, FrozenBase, FrozenReward, StepReward
from train.checkpoints import CheckpointMixin, StopOnRequest
from train.frozen_copy import build_frozen_base, frozen_instance
from train.generation.dynamic_sampling import HELP as DYNAMIC_SAMPLING_HELP
from train.generation.own_problems import EXAMPLES_HELP, OwnProblemsMixin
from train.generation.own_problems import HELP as OWN_PROBLEMS_HELP
from train.generation.vllm_engine import PolicyEngine, in_trainers
from train.generation.vllm_settings import check_vllm
from train.heldout import HeldOutMixin
from train.policy_forward import SHARE_PREFIXES_HELP, PrefixSharing, check_model, check_same_function, prepare_policy
from train.policy_scores import PolicyScores
from train.reward_adapter import wrap_rewards
from train.reward_hosts import lend_models
from train.reward_mix import RewardMix, ShapedReward
from train.rollout import NOT_YET, Rollout, RolloutLogMixin, begin, response_mask, without_reward
from train.trl_patches import fit_fused_head, say_once_that_no_reward_applies

logger = logging.getLogger(__name__)

DROPOUT_HELP = (
    "Switch off all dropout while the policy trains, of attention and adapters too. With dropout the "
    "log-probabilities of a rollout and of its update are those of two random networks."
)


@dataclass
class EndoGRPOConfig(GRPOConfig):
    """TRL's GRPOConfig without dropout, unless `disable_dropout: false` asks for it."""

    disable_dropout: bool = field(default=True, metadata={"help": DROPOUT_HELP})
    dynamic_sampling: int = field(default=0, metadata={"help": DYNAMIC_SAMPLING_HELP})
    own_problems: str | None = field(default=None, metadata={"help": OWN_PROBLEMS_HELP})
    own_problems_examples: int = field(default=5, metadata={"help": EXAMPLES_HELP})
    share_prefixes: bool = field(default=True, metadata={"help": SHARE_PREFIXES_HELP})

    def __post_init__(self):
        # A launcher that was told to use CPUs, or started several processes where there is nothing else, means CPUs.
        # Without the flag transformers would take each of these processes for the only one.
        told = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        several = int(os.environ.get("WORLD_SIZE", 1)) > 1
        self.use_cpu = self.use_cpu or told or (several and not torch.accelerator.is_available())
        super().__post_init__()


class EndoGRPOTrainer(CheckpointMixin, HeldOutMixin, RolloutLogMixin, OwnProblemsMixin, GRPOTrainer):
    """`trl.GRPOTrainer` whose reference model is a `FrozenBase` that it shares with its rewards.

    Args:
        model: name, folder or instance of the policy, as in TRL; a causal language model.
        reward_funcs: as in TRL; a list of one number per token is allowed for a response, and summed here. An `EndoRM`
            without a base is lent the trainer's, or the policy if it is online. A `ShapedReward` has its own weight
            and shaping.
        args: `EndoGRPOConfig` or `trl.GRPOConfig`; `beta` is the coefficient of the KL term, as in TRL, which by
            default multiplies that term by the importance ratio (`use_bias_correction_kl`). Dropout is off, unless an
            `EndoGRPOConfig` asks for it.
        frozen_base: the frozen base: name, folder or instance of a causal LM with the policy's tokenizer. Default: the
            policy as it was loaded, which with LoRA is the policy with its adapter off (or a frozen copy of an
            adapter that was trained before), no second copy of the weights.
        frozen_dtype: dtype of a frozen base that has to be loaded; default the policy's.
        **kwargs: everything else that TRL's trainer takes.

    Raises:
        ValueError: a model that is no causal LM or takes images, a dataset smaller than one rollout, a frozen base
            with another tokenizer, a frozen base that is to move (`sync_ref_model`) while rewards are read off it, or
            vLLM rollouts that it cannot learn from. In the first rollout: a policy whose forward is not the frozen
            base's though it is the same model.
    """

    wants_hidden = False  # whether the frozen forward should return hidden states
    dense_rewards = False  # whether rewards that have token rewards should give them
    config_class: type[GRPOConfig] = EndoGRPOConfig
    args: GRPOConfig
    model: nn.Module
    vllm_generation: PolicyEngine

    def __init__(
        self,
        model,
        reward_funcs=None,
        args: GRPOConfig | None = None,
        *,
        frozen_base: str | nn.Module | None = None,
        frozen_dtype: str | None = None,
        batch_tokens: int = 8192,
        **kwargs,
    ):
        if args is None:
            name = model if isinstance(model, str) else get_config_model_id(model.config)
            args = self.config_class(f"{name.split('/')[-1]}-{self._name}")
        datasets = [kwargs.get("train_dataset"), kwargs.get("eval_dataset")]
        assert not isinstance(args.model_init_kwargs, str)  # TRL has read it
        init = {"trust_remote_code": args.trust_remote_code} | (args.model_init_kwargs or {})
        load = {name: init[name] for name in ("trust_remote_code", "revision") if init.get(name) is not None}
        check_model(model, kwargs.get("processing_class"), datasets, **load)
        check_vllm(args, kwargs.get("quantization_config") is not None)
        reward_funcs = [] if reward_funcs is None else reward_funcs
        reward_funcs = list(reward_funcs) if isinstance(reward_funcs, (list, tuple)) else [reward_funcs]
        self.rollout: Rollout = NOT_YET  # the one thing that is set anew with every rollout
        self.mix: RewardMix | None = None
        if any(isinstance(f, ShapedReward) for f in reward_funcs):
            self.mix = RewardMix(reward_funcs, args.reward_weights, args.num_generations or 1)
            reward_funcs = self.mix.functions
        self._same_model = frozen_base is None or (isinstance(frozen_base, str) and frozen_base == model)
        adapted = hasattr(model, "disable_adapter") or kwargs.get("peft_config") is not None
        if frozen_base is None and isinstance(model, nn.Module) and not adapted:
            frozen_base = frozen_instance(cast(PreTrainedModel, model), frozen_dtype)
        # With beta = 0 TRL loads no reference model of its own and makes no forward for one.
        own = copy.copy(args)
        own.beta, own.sync_ref_model = 0.0, False
        with in_trainers():
            super().__init__(model, wrap_rewards(reward_funcs, self.dense_rewards), own, **kwargs)
        check_model(self.model, self.processing_class, [])  # TRL may have found a processor beside the model
        self.args.beta = args.beta
        self._prepare_policy(args)
        if self.mix is not None:
            self.reward_func_names[: len(reward_funcs)] = self.mix.names
            self.reward_weights[: len(reward_funcs)] = self.mix.weights(0)
        self._check_dataset()
        self.screen_with(reward_funcs)
        self.propose_with(self.eval_dataset)
        self.frozen_base = build_frozen_base(self, frozen_base, frozen_dtype, batch_tokens)
        self._prefixes = PrefixSharing(self.model, self.frozen_base, args)
        self._lend(reward_funcs, batch_tokens)
        if args.sync_ref_model:
            self._follow_policy(args)
        # Loading a frozen base draws random numbers; the rollouts must not depend on whether one was loaded.
        set_seed(args.seed, device_specific=True)
        self.add_callback(StopOnRequest(self))

    @property
    def beta(self) -> float:
        """The coefficient of the KL term. It is 0 to TRL while a rollout is made, so that TRL computes no reference
        log-probs of its own: they come with the scores of the frozen base."""
        making = self.rollout is not None and self.rollout.ref_log_probs is None
        return 0.0 if making else self.args.beta

    @beta.setter
    def beta(self, value: float) -> None:
        """TRL sets what its config says, which is where it is read from."""

    def _prepare_policy(self, args: GRPOConfig) -> None:
        fit_fused_head(self.accelerator.device)
        say_once_that_no_reward_applies()
        self._same_model &= prepare_policy(self.model, args)
        if self.use_vllm:
            self.vllm_generation.stop_at(self.eos_token_ids)

    def _lend(self, reward_funcs: list, batch_tokens: int) -> None:
        by_steps = [f for f in reward_funcs if isinstance(f, StepReward)]
        every = [*reward_funcs, *(s.inner for s in by_steps)]
        frozen_rewards = [f for f in every if isinstance(f, FrozenReward)]
        online = [f for f in frozen_rewards if f.online]
        alphas = tuple(dict.fromkeys(a for f in online for a in f.alphas))
        self._policy_scores = PolicyScores(self.model, alphas, any(f.distribution for f in online)) if online else None
        lend_models(
            every,
            self.frozen_base,
            lambda: FrozenBase(self.model, batch_tokens, autocast=self.accelerator.autocast, online=True),
            self._tokenizer,
            self.eos_token_ids,
            lambda model: prepare_deepspeed(model, self.accelerator),
            self.chat_template_kwargs,
        )
        for reward in by_steps:
            reward.tokenizer = self._tokenizer  # it decodes the policy's ids, whatever its inner reward reads
        shared = [f for f in frozen_rewards if f.base is self.frozen_base and f.reads_policys_prompt]
        # the reward whose forward is the shared one: its token rewards cost nothing, for the table of completions
        self._endorm = next((f for f in shared if isinstance(f, EndoRM)), None)
        endorm_first = sorted(shared, key=lambda f: f is not self._endorm)  # the critic reads V at the first alpha
        self.alphas = tuple(dict.fromkeys(a for f in endorm_first for a in f.alphas)) or (1.0,)
        self._distribution = any(f.distribution for f in shared)
        readers = [x for f in every for x in (f, getattr(f, "judge", None))]
        self._reads_frozen_base = self.wants_hidden or any(
            getattr(x, "base", None) is self.frozen_base for x in readers
        )

    def _follow_policy(self, args: GRPOConfig) -> None:
        if self._reads_frozen_base:
            raise ValueError(
                "sync_ref_model moves the frozen base, but rewards (or PPO's critic) are read off it, and would "
                "change under way. Leave sync_ref_model out, or use rewards that do not ask the frozen base."
            )
        if self.frozen_base.adapter_off or (args.beta == 0.0 and self._name == "GRPO"):
            raise ValueError(
                "sync_ref_model moves the weights of the KL term's reference: it needs beta above 0, and a reference "
                "with weights of its own, which there is none with an adapter. Leave it out, raise beta, or train "
                "without an adapter."
            )
        self.add_callback(SyncRefModelCallback(self.frozen_base.model, self.accelerator))

    def _check_dataset(self) -> None:
        needed = (self.args.generation_batch_size or 0) // (self.num_generations or 1)  # which TRL has set
        if isinstance(self.train_dataset, Sized) and len(self.train_dataset) < needed:
            raise ValueError(
                f"The dataset has {len(self.train_dataset)} prompts, but one rollout takes {needed} "
                "(per_device_train_batch_size x processes x steps_per_generation / num_generations): not a single "
                "training step is possible. Use more data or a smaller rollout."
            )

    # ------------------------------------------------------------------ the steps of a rollout, in their order

    def _generate_and_score_completions(self, inputs):
        if self._pattern is not None and self.model.training:
            inputs = self._with_own_problems(inputs)
        if self._screens and self.model.training:
            inputs = self._with_spread(inputs)
        with self._policy_scores.attentive() if self._policy_scores is not None else contextlib.nullcontext():
            output = super()._generate_and_score_completions(inputs)  # calls the three methods that follow
        mask = response_mask(output)
        taught = ~self.rollout.local(self.rollout.without_reward)
        self.rollout = replace(
            self.rollout,
            mask=mask * taught[:, None],
            ref_log_probs=self.rollout.pad([s.log_probs for s in self.rollout.frozen], mask.shape[1]),
        )
        output["ref_per_token_logps"] = self.rollout.ref_log_probs
        if self.rollout.log_probs is not None:
            output.setdefault("old_per_token_logps", self.rollout.log_probs)
        if "old_per_token_logps" in output:
            self._log_kl(output, output["old_per_token_logps"])
        if self.rollout.training and self.state.global_step == 0:
            self._check_same_function(output)
        self._log_responses()
        return output

    def _generate(self, prompts):
        generated = super()._generate(prompts)
        prompt_ids, response_ids, tool_mask = generated[:3]
        self.rollout = begin(
            prompt_ids,
            response_ids,
            tool_mask,
            eos_token_ids=self.eos_token_ids,
            training=self.model.training,
            process_index=self.accelerator.process_index,
            device=self.accelerator.device,
        )
        return generated

    def _generate_single_turn(self, *args, **kwargs):
        self.frozen_base.check()  # before anything is drawn: what it finds wrong is then said at once
        if self.use_vllm:
            return super()._generate_single_turn(*args, **kwargs)
        with self._prefixes.shared(), self.accelerator.autocast():  # within one context weights are cast once
            return super()._generate_single_turn(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        listening: contextlib.AbstractContextManager = contextlib.nullcontext()
        if self._policy_scores is not None and self._policy_scores.listens:
            listening = self._policy_scores.listening(input_ids[:, -logits_to_keep:])
        # within an outer context of autocast the batches of a rollout share one cast of the weights
        casts = contextlib.nullcontext() if torch.is_grad_enabled() else self.accelerator.autocast()
        with listening, self._prefixes.shared(), casts:
            result = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        if self.rollout is not None:
            self.rollout.loss_log_probs = result[0].detach()
        return result

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        half = self.accelerator.mixed_precision == "bf16"
        scores = self.frozen_base.score(
            self.rollout.prompt_ids,
            self.rollout.response_ids,
            alphas=self.alphas,
            temperature=self.temperature,
            hidden=torch.bfloat16 if self.wants_hidden and half else self.wants_hidden,  # features of a whole rollout
            share_prompts=self._prefixes.wanted,
            distribution=self._distribution,
        )
        self.rollout = replace(self.rollout, frozen=scores)
        if self._policy_scores is not None:
            self.rollout = self._with_policys_own_scores(self.rollout)
        inputs = [{**example, **columns} for example, columns in zip(inputs, self.rollout.columns())]
        raw = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.rollout = self._with_rewards(self.rollout, raw)
        self._warn_if_equal(self.rollout)
        if self.log_completions:
            tokens = None
            if self._endorm is not None:
                columns = {name: [row[name] for row in self.rollout.columns()] for name in self.rollout.columns()[0]}
                tokens = self._endorm.per_token(prompts, completions, completion_ids_list, **columns)
            self._log_tokens(tokens)
        return self.rollout.rewards

    def _with_rewards(self, rollout: Rollout, raw: torch.Tensor) -> Rollout:
        """The rollout with its rewards of all processes, shaped by the mix; token by token where they are wanted."""
        rewards, tokens = raw, self._token_rewards(rollout)
        if self.mix is not None:
            own_lengths = self.accelerator.gather(torch.tensor(rollout.own_lengths, device=raw.device))
            group_size = (self.num_generations if rollout.training else self.num_generations_eval) or 1
            every = {i: self._gather_rows(x) for i, x in tokens.items()}
            shaped, every = self.mix(raw, every, own_lengths, group_size, rollout.training)
            rewards = torch.cat([shaped, raw[:, shaped.shape[1] :]], dim=1)  # environments of TRL add rewards
            tokens = {i: rollout.local(x) for i, x in every.items()}
            self.reward_weights[: shaped.shape[1]] = self.mix.weights(self.state.global_step)
        weights = self.reward_weights.to(raw.device)
        silent = without_reward(raw, weights)
        # what gates have closed altogether is a reward of 0, and not one that does not apply
        closed = rewards.isnan().all(dim=1) & ~silent
        rewards = torch.where(closed[:, None] & ~raw.isnan(), 0.0, rewards)
        return replace(
            rollout,
            raw_rewards=raw,
            rewards=rewards.masked_fill(silent[:, None], torch.nan),
            weights=weights,
            without_reward=silent,
            token_rewards=tokens,
        )

    def _token_rewards(self, rollout: Rollout) -> dict[int, torch.Tensor]:
        """{index of a function: (B, T) its token rewards}; GRPO learns from sums alone."""
        return {}

    def _gather_rows(self, x: torch.Tensor) -> torch.Tensor:
        """(N, most tokens of any process) from each process's (B, T), filled up with NaN."""
        if self.accelerator.num_processes == 1:
            return x
        width = int(self.accelerator.gather(torch.tensor([x.shape[1]], device=x.device)).max())
        return self.accelerator.gather(nn.functional.pad(x, (0, width - x.shape[1]), value=torch.nan))

    def _with_policys_own_scores(self, rollout: Rollout) -> Rollout:
        """From TRL's forward for the policy's log-probs; where TRL makes none (an update on policy) from one made
        here, whose log-probs then serve as the rollout's."""
        assert self._policy_scores is not None
        if len(self._policy_scores) != len(rollout) or self.mask_truncated_completions:
            batch, device = {}, self.accelerator.device
            sides = (("prompt", rollout.prompt_ids, "left"), ("completion", rollout.response_ids, "right"))
            multiple: Any = self.pad_to_multiple_of
            for name, ids, side in sides:
                layout = partial(pad, padding_side=side, pad_to_multiple_of=multiple)
                rows = [torch.tensor(row, device=device) for row in ids]
                batch[f"{name}_ids"] = layout(rows, padding_value=self._tokenizer.pad_token_id)
                batch[f"{name}_mask"] = layout([torch.ones_like(row) for row in rows], padding_value=0)
            rollout = replace(rollout, log_probs=self._policy_log_probs(batch))
        return replace(rollout, policy=self._policy_scores.take([len(ids) for ids in rollout.response_ids]))

    def _policy_log_probs(self, batch: dict) -> torch.Tensor:
        """(B, T) log-probs of the policy that made the rollout; TRL skips them where its own loss can do without."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        kwargs: Any = self.args.gradient_checkpointing_kwargs
        without_checkpointing = disable_gradient_checkpointing(cast(PreTrainedModel, self.model), kwargs)
        with torch.no_grad(), without_checkpointing:
            return self._get_per_token_logps_and_entropies(
                self.model, ids, attention, batch["completion_ids"].shape[1], self.args.per_device_train_batch_size
            )[0]

    def _check_same_function(self, output: dict) -> None:
        """Before the first update the policy is the frozen base, and must act like it."""
        if not self._same_model:
            return
        log_probs = output.get("old_per_token_logps")
        log_probs = self._policy_log_probs(output) if log_probs is None else log_probs
        models = (self.model, self.frozen_base.model)
        dtypes = {p.dtype for model in models for p in model.parameters() if p.is_floating_point()}
        exact = dtypes == {torch.float32} and self.accelerator.mixed_precision == "no"
        self._same_model = False  # once is enough, and the policy will move
        padded = output["prompt_mask"][:, 0] == 0
        check_same_function(log_probs, output["ref_per_token_logps"], self.rollout.mask, padded, exact, self.model)

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if "old_per_token_logps" not in inputs:  # on-policy: these are the log-probs of the rollout
            self._log_kl(inputs, self.rollout.loss_log_probs)
        return loss
