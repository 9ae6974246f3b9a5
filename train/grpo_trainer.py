"""GRPO on TRL's trainer with one frozen base for the KL term and every frozen-base reward.

TRL computes reference log-probs in one forward and leaves rewards to find their own. Here one forward of the frozen
base over a rollout gives both; reward functions receive its result as the column `frozen_scores`.
"""

import contextlib
import copy
import logging
import math

import torch
from accelerate.utils import set_seed
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing, prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import create_model_from_path, get_config_model_id, nanstd, pad

from rewards import EndoRM, FrozenBase, FrozenReward, StepReward, TokenScores
from train.checkpoints import CheckpointMixin, StopOnRequest
from train.cpu_head import fit_fused_head
from train.policy_scores import PolicyScores
from train.ppo_math import kl_k1, kl_k3, moments, repetition_rate
from train.reward_mix import RewardMix, ShapedReward
from train.reward_models import lend_models, same_tokenizer
from train.token_reward import wrap_rewards
from train.vllm_rollouts import check_vllm, set_up_vllm

logger = logging.getLogger(__name__)


def response_mask(batch: dict) -> torch.Tensor:
    """(B, T): 1 on tokens of the policy's own, without padding, tool results and responses left out by TRL."""
    return batch["completion_mask"] * batch.get("tool_mask", 1)


class EndoGRPOTrainer(CheckpointMixin, GRPOTrainer):
    """`trl.GRPOTrainer` whose reference model is a `FrozenBase` that it shares with its rewards.

    Args:
        model: name, folder or instance of the policy, as in TRL.
        reward_funcs: as in TRL; a list of one number per token is allowed for a response, and summed here. An `EndoRM`
            without a base is lent the trainer's, or the policy if it is online. A `ShapedReward` has its own weight
            and shaping.
        args: `trl.GRPOConfig`; `beta` weighs the KL term: k3 times the importance ratio (`use_bias_correction_kl`).
        frozen_base: the frozen base: name, folder or instance of a causal LM with the policy's tokenizer. Default: the
            policy as it was loaded, which with LoRA is the policy with its adapter off, no second copy of the weights.
        frozen_dtype: dtype of a frozen base that has to be loaded; default the policy's.
        **kwargs: everything else that TRL's trainer takes.

    Raises:
        ValueError: a dataset smaller than one rollout, a frozen base with another tokenizer, or vLLM rollouts
            of a quantized policy.
    """

    wants_hidden = False  # whether the frozen forward should return hidden states
    dense_rewards = False  # whether rewards that have token rewards should give them

    def __init__(
        self,
        model,
        reward_funcs,
        args: GRPOConfig,
        *,
        frozen_base: str | nn.Module | None = None,
        frozen_dtype: str | None = None,
        batch_tokens: int = 8192,
        **kwargs,
    ):
        reward_funcs = list(reward_funcs) if isinstance(reward_funcs, (list, tuple)) else [reward_funcs]
        self.mix: RewardMix | None = None
        if any(isinstance(f, ShapedReward) for f in reward_funcs):
            self.mix = RewardMix(reward_funcs, args.reward_weights, args.num_generations)
            reward_funcs = self.mix.functions
        by_steps = [f for f in reward_funcs if isinstance(f, StepReward)]
        every = [*reward_funcs, *(s.inner for s in by_steps)]
        frozen_rewards = [f for f in every if isinstance(f, FrozenReward)]
        if frozen_base is None and isinstance(model, nn.Module) and not model.config._name_or_path:
            frozen_base = copy.deepcopy(model)  # never saved, so it cannot be loaded again
        check_vllm(args, kwargs.get("quantization_config") is not None)
        # With beta = 0 TRL loads no reference model of its own and makes no forward for one.
        own = copy.copy(args)
        own.beta = 0.0
        super().__init__(model, wrap_rewards(reward_funcs, self.dense_rewards), own, **kwargs)
        self.args.beta = self.beta = args.beta
        fit_fused_head(self.accelerator.device)
        if self.mix is not None:
            self.reward_func_names[: len(reward_funcs)] = self.mix.names
            self.reward_weights[: len(reward_funcs)] = self.mix.weights(0)
        self._check_dataset()
        if self.use_vllm:
            set_up_vllm(self.vllm_generation, self.eos_token_ids)
        self.frozen_base = self._build_frozen_base(frozen_base, frozen_dtype, batch_tokens)
        self._policy_scores = self._listen_to_policy([f for f in frozen_rewards if f.online])
        lend_models(
            every,
            self.frozen_base,
            lambda: FrozenBase(self.model, batch_tokens, autocast=self.accelerator.autocast, online=True),
            self._tokenizer,
            self.eos_token_ids,
            lambda model: prepare_deepspeed(model, self.accelerator),
        )
        for reward in by_steps:
            reward.tokenizer = self._tokenizer  # it decodes the policy's ids, whatever its inner reward reads
        shared = [f for f in frozen_rewards if f.base is self.frozen_base and f.system_prompt is None]
        # the reward whose forward is the shared one: its token rewards cost nothing, for the table of completions
        self._endorm = next((f for f in shared if isinstance(f, EndoRM)), None)
        endorm_first = sorted(shared, key=lambda f: f is not self._endorm)  # the critic reads V at the first alpha
        self.alphas = tuple(dict.fromkeys(a for f in endorm_first for a in f.alphas)) or (1.0,)
        self._distribution = any(f.distribution for f in shared)
        self._prompt_ids: list[list[int]] = []
        self._scores: list[TokenScores] = []
        # Loading a frozen base draws random numbers; the rollouts must not depend on whether one was loaded.
        set_seed(args.seed, device_specific=True)
        self.add_callback(StopOnRequest(self))

    def _build_frozen_base(self, frozen, dtype: str | None, batch_tokens: int) -> FrozenBase:
        settings = {"batch_tokens": batch_tokens, "autocast": self.accelerator.autocast}
        if frozen is None and hasattr(self.model, "disable_adapter"):
            return FrozenBase(self.model, **settings)  # after training starts this is the prepared model, in place
        if not isinstance(frozen, nn.Module):
            policy = get_config_model_id(self.model.config)
            init = dict(self.args.model_init_kwargs or {})
            if frozen is not None and frozen != policy:
                if not same_tokenizer(AutoTokenizer.from_pretrained(frozen), self._tokenizer):
                    raise ValueError(
                        f"The tokenizer of the frozen base {frozen} is not the policy's: the same ids mean other "
                        "tokens to it, so it cannot be the KL reference. Choose a frozen base of the policy's model "
                        "family; a teacher may have any tokenizer as a reward, rewards: [{name: endorm, model: ...}]."
                    )
                init.pop("revision", None)  # the policy's
            init["dtype"] = dtype or self.model.dtype
            init.setdefault("attn_implementation", self.model.config._attn_implementation)
            if self.args.distributed_state.distributed_type in ("MULTI_GPU", "DEEPSPEED"):
                init["device_map"] = None
            frozen = create_model_from_path(frozen or policy, **init)
        if self.is_deepspeed_enabled:
            frozen = prepare_deepspeed(frozen, self.accelerator)
        elif self.is_fsdp_enabled:
            frozen = prepare_fsdp(frozen, self.accelerator)
        else:
            frozen = self.accelerator.prepare_model(frozen, evaluation_mode=True)
        return FrozenBase(frozen, **settings)

    def _listen_to_policy(self, online: list[FrozenReward]) -> PolicyScores | None:
        self._in_rollout = False
        self._rollout_log_probs: torch.Tensor | None = None
        alphas = tuple(dict.fromkeys(a for f in online for a in f.alphas))
        return PolicyScores(self.model, alphas, any(f.distribution for f in online)) if online else None

    def _check_dataset(self) -> None:
        needed = self.args.generation_batch_size // self.num_generations
        if hasattr(self.train_dataset, "__len__") and len(self.train_dataset) < needed:
            raise ValueError(
                f"The dataset has {len(self.train_dataset)} prompts, but one rollout takes {needed} "
                "(per_device_train_batch_size x processes x steps_per_generation / num_generations): not a single "
                "training step is possible. Use more data or a smaller rollout."
            )

    def _generate(self, prompts):
        generated = super()._generate(prompts)
        self._prompt_ids = generated[0]  # TRL shows reward functions the completion ids only
        return generated

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self._scores = self.frozen_base.score(
            self._prompt_ids,
            completion_ids_list,
            alphas=self.alphas,
            temperature=self.temperature,
            hidden=self.wants_hidden,
            distribution=self._distribution,
        )
        inputs = [{**example, "frozen_scores": scores} for example, scores in zip(inputs, self._scores)]
        if self._policy_scores is not None:
            said = self._policys_own_scores(completion_ids_list)
            inputs = [{**example, "policy_scores": scores} for example, scores in zip(inputs, said)]
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.mix is not None:
            rewards = self._shape(rewards, [len(ids) for ids in completion_ids_list])
        self._warn_if_equal(rewards)
        if self.log_completions and self._endorm is not None:
            tokens = self._endorm.per_token(prompts, completions, completion_ids_list, frozen_scores=self._scores)
            self._log_completion_extra("endorm_tokens", [self._show(*x) for x in zip(completion_ids_list, tokens)])
        cut_off = [ids[-1] not in self.eos_token_ids for ids in completion_ids_list]
        self._cut_off = torch.tensor(cut_off, device=self.accelerator.device)
        return rewards

    def _shape(self, rewards: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Rewards (N, functions) of all processes, shaped; the raw ones and the shaped tokens are kept."""
        first, training = self.accelerator.process_index * len(lengths), self.model.training
        group_size = self.num_generations if training else self.num_generations_eval
        every = self.accelerator.gather(torch.tensor(lengths, device=rewards.device))
        shaped, tokens = self.mix(rewards, self._token_columns(lengths, int(every.max())), every, group_size, training)
        self._raw_rewards, self._shaped_rewards = rewards, shaped
        self._shaped_tokens = {i: x[first : first + len(lengths)] for i, x in tokens.items()}
        self.reward_weights[: shaped.shape[1]] = self.mix.weights(self.state.global_step)
        return torch.cat([shaped, rewards[:, shaped.shape[1] :]], dim=1)  # environments of TRL add rewards

    def _token_columns(self, lengths: list[int], width: int) -> dict[int, torch.Tensor]:
        """(N, width) token rewards of all processes by the index of their function; GRPO learns from sums alone."""
        return {}

    def _log_shaping(self) -> None:
        """TRL logged the rewards that it learns from: put the raw ones under their names, the shaped beside them."""
        log = self._metrics["train" if self.model.training else "eval"]
        raw, shaped = self._raw_rewards, self._shaped_rewards
        columns = torch.stack([raw.nanmean(0), nanstd(raw, dim=0), shaped.nanmean(0)], dim=1).tolist()
        for i, (name, shaping) in enumerate(zip(self.mix.names, self.mix.shapings)):
            mean, std, shaped_mean = columns[i]
            log[f"rewards/{name}/mean"][-1], log[f"rewards/{name}/std"][-1] = mean, std
            rows = self._logs["rewards"][name]
            earlier = list(rows)[: -len(raw)]
            rows.clear()
            rows.extend(earlier + raw[:, i].tolist())
            optional = {
                "shaped_mean": shaped_mean if shaping.reshapes and not math.isnan(shaped_mean) else None,
                "length_slope": shaping.slope,
                "weight": shaping.weight_at(self.state.global_step) if shaping.anneal else None,
            }
            for key, value in optional.items():
                if value is not None:
                    log[f"rewards/{name}/{key}"].append(value)

    def _policys_own_scores(self, completion_ids: list[list[int]]) -> list[TokenScores]:
        """From TRL's forward for the policy's log-probs; where TRL makes none (an update on policy) from one made
        here, whose log-probs then serve as the rollout's."""
        if len(self._policy_scores) != len(completion_ids) or self.mask_truncated_completions:
            batch = {}
            for name, rows, side in (("prompt", self._prompt_ids, "left"), ("completion", completion_ids, "right")):
                layout = {"padding_side": side, "pad_to_multiple_of": self.pad_to_multiple_of}
                rows = [torch.tensor(row, device=self.accelerator.device) for row in rows]
                batch[f"{name}_ids"] = pad(rows, padding_value=self._tokenizer.pad_token_id, **layout)
                batch[f"{name}_mask"] = pad([torch.ones_like(row) for row in rows], padding_value=0, **layout)
            self._rollout_log_probs = self._policy_log_probs(batch)
        return self._policy_scores.take([len(ids) for ids in completion_ids])

    def _policy_log_probs(self, batch: dict) -> torch.Tensor:
        """(B, T) log-probs of the policy that made the rollout; TRL skips them where its own loss can do without."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            return self._get_per_token_logps_and_entropies(
                self.model, ids, attention, batch["completion_ids"].shape[1], self.args.per_device_train_batch_size
            )[0]

    def _generate_and_score_completions(self, inputs):
        self.beta = 0.0  # the reference log-probs come with the scores below
        self._in_rollout, self._rollout_log_probs = True, None
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self.beta = self.args.beta
            self._in_rollout = False
        if self._rollout_log_probs is not None:
            output.setdefault("old_per_token_logps", self._rollout_log_probs)
        if self.mix is not None:
            self._log_shaping()
        log_probs = pad_sequence([s.log_probs for s in self._scores], batch_first=True)
        missing = output["completion_ids"].shape[1] - log_probs.shape[1]  # pad_to_multiple_of
        output["ref_per_token_logps"] = nn.functional.pad(log_probs, (0, missing))
        if "old_per_token_logps" in output:
            self._log_kl(output, output["old_per_token_logps"])
        repetition = repetition_rate(output["completion_ids"], output["completion_mask"])
        per_response = {"eos_rate": ~self._cut_off, "repetition_rate": repetition}
        for name, x in per_response.items():
            mean = moments(x.float(), torch.ones_like(repetition), self._sum_over_processes)[1]
            self._metrics["train" if self.model.training else "eval"][f"completions/{name}"].append(mean.item())
        return output

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        listening = contextlib.nullcontext()
        if self._in_rollout and self._policy_scores is not None:
            listening = self._policy_scores.listening(input_ids[:, -logits_to_keep:])
        with listening:
            result = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        self._last_log_probs = result[0].detach()
        return result

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        if "old_per_token_logps" not in inputs:  # on-policy: these are the log-probs of the rollout
            self._log_kl(inputs, self._last_log_probs)
        return loss

    def _log_kl(self, batch, log_probs: torch.Tensor) -> None:
        """Log k1 and k3, means over tokens, of the policy that made the rollout against the frozen base."""
        mode, mask = "train" if self.model.training else "eval", response_mask(batch)
        for name, estimator in (("k1", kl_k1), ("k3", kl_k3)):
            kl = estimator(log_probs.float(), batch["ref_per_token_logps"])
            self._metrics[mode][f"kl/{name}"].append(moments(kl, mask, self._sum_over_processes)[1].item())

    def _sum_over_processes(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.accelerator.num_processes == 1 else self.accelerator.reduce(x, reduction="sum")

    def evaluate(self, *args, **kwargs):
        """As in transformers; TRL only logs its metrics, here they are returned too, for `metric_for_best_model`."""
        metrics = super().evaluate(*args, **kwargs)
        logged = self.state.log_history[-1] if self.state.log_history else {}
        return {k: v for k, v in logged.items() if k.startswith("eval_")} | metrics

    def _show(self, ids: list[int], rewards: torch.Tensor) -> str:
        """A response's tokens with their rewards, `token:+0.12 ...`, for the table of completions."""
        tokens = self._tokenizer.convert_ids_to_tokens(ids)
        return " ".join(f"{t}:{r:+.2f}" for t, r in zip(tokens, rewards.tolist()))

    def _warn_if_equal(self, rewards: torch.Tensor) -> None:
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        if self.model.training and len(total) > 1 and bool((total == total[0]).all()):
            logger.warning(
                "Step %d: all %d rewards of this rollout are equal (%.4g), so they teach nothing. If this goes on, "
                "raise the temperature, look at the completions, or choose another reward.",
                self.state.global_step,
                len(total),
                total[0].item(),
            )
