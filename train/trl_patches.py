"""Where TRL does something that its settings cannot change: every reach into its private names, with the reason.

**The head on a CPU.** Where there is no Triton, TRL 1.16 puts the states of prompts through the head too, in tiles of
4,096 states by 32,768 vocabulary entries: half a gibibyte, which no cache holds. Both are globals of its module. TRL
would have to leave states without a label out on every device, and to make the tile a setting.

**Messages.** TRL prints all columns of the first response that has no reward, in every rollout that has one. It would
have to say so once, or as a metric.

**vLLM.** TRL sends the policy's weights to vLLM, gets token ids and their log-probs back, logs how far those are from
the trainer's own (`sampling/sampling_logp_difference`) and weighs the loss by their ratio
(`vllm_importance_sampling_correction`, on by default). Two things are added:

- vLLM stops at the end tokens that the checkpoint declares. A recipe's `eos_token` is not among those of a base model,
  so the trainer's end tokens are sent with each request.
- TRL merges a LoRA adapter into the weights to send them, and takes it out again. In bf16 (W + d) - d is not W, and
  these very weights are the frozen base: after some hundred updates the reward would have moved. So they are put back.

And one is refused. vLLM's log-probs are those of what it samples from (processed_logprobs): at the temperature, as
the trainer's are, but also after top-k, top-p, penalties and whatever else changes the distribution, of which the
trainer's know nothing. The ratio is then the probability that the cut kept, in TRL's default mode its product over a
response, which is near 0 and takes the gradient with it. Without the correction the policy is updated as after
transformers' own generation: at log-probs before the cut. A server that gives raw_logprobs is right at temperature 1
only, of which TRL warns.
"""

import functools
import logging

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import utils

TILE = 2048  # vocabulary entries of a tile: 32 MiB with 4,096 states


def fit_fused_head(device: torch.device) -> None:
    """Have TRL score the states of responses alone, in tiles near a CPU's caches; nothing changes on other devices."""
    if device.type != "cpu" or utils._CHUNKED_LOGPROB_CHUNK_SIZE == TILE:
        return
    elsewhere = utils._use_triton  # in this module it only says whether to leave out states without a label
    utils._use_triton = lambda device: device.type == "cpu" or elsewhere(device)
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = TILE


class _Once(logging.Filter):
    """Lets the first message with given words through, and no other that has them."""

    def __init__(self, words: str):
        super().__init__()
        self.words, self.said = words, False

    def filter(self, record: logging.LogRecord) -> bool:
        if self.words not in record.getMessage():
            return True
        first, self.said = not self.said, True
        return first


_NO_REWARD = _Once("All reward functions returned None")


def say_once_that_no_reward_applies() -> None:
    """Have TRL tell the first time only of a response to which no reward applies; their share is a metric."""
    logger = logging.getLogger("trl.trainer.grpo_trainer")
    if _NO_REWARD not in logger.filters:
        logger.addFilter(_NO_REWARD)


def set_up_vllm(generation: VLLMGeneration, eos_token_ids: list[int]) -> None:
    """Make TRL's vLLM backend stop at `eos_token_ids` and leave the frozen base as it was."""
    generation.generation_kwargs = {"stop_token_ids": list(eos_token_ids), **generation.generation_kwargs}
    adapted = adapted_weights(generation.model)
    if adapted:
        generation.sync_weights = put_back_after(generation.sync_weights, adapted)  # type: ignore[method-assign]


# What of vLLM's sampling parameters, as generation_kwargs, leaves the log-probs of the sampled tokens as they are
HARMLESS = ("seed", "max_tokens", "stop", "stop_token_ids", "ignore_eos", "include_stop_str_in_output", "detokenize")


def check_vllm(args, quantized: bool) -> None:
    """Refuse what vLLM's rollouts cannot do.

    Args:
        args: `trl.GRPOConfig`.
        quantized: whether the policy's weights are.

    Raises:
        ValueError: a quantized policy, whose weights can neither be merged exactly nor be sent; or settings after
            which vLLM's log-probs are not the trainer's, while the loss is weighed or masked by the two's ratio.
    """
    if not args.use_vllm:
        return
    if quantized:
        raise ValueError(
            "use_vllm with load_in_4bit or load_in_8bit: the adapter would have to be merged into quantized weights, "
            "which changes the frozen base and which vLLM cannot load. Use LoRA on bfloat16 weights, or drop use_vllm."
        )
    compared = args.vllm_importance_sampling_correction or args.off_policy_mask_threshold is not None
    if compared and (changes := distribution_changes(args)):
        found = ", ".join(f"{name}: {value!r}" for name, value in changes.items())
        raise ValueError(
            f"use_vllm with {found}: vLLM's log-probs are those after such settings, the trainer's those before, and "
            "their ratio would weigh the loss wrongly, often by almost 0. Leave them out (top_k: 0, top_p: 1.0, "
            f"min_p: null, repetition_penalty: 1.0, and in generation_kwargs only {', '.join(HARMLESS)}), or do "
            "without the ratio: vllm_importance_sampling_correction: false, off_policy_mask_threshold: null."
        )


def distribution_changes(args) -> dict:
    """The settings by which vLLM samples from another distribution than the policy's at the recipe's temperature, or
    would report other log-probs than those of the sampled tokens."""
    # None would let a server take its model's own default
    off = {"top_k": (0, -1), "top_p": (1.0,), "repetition_penalty": (1.0,), "temperature": (args.temperature,)}
    names = ("top_k", "top_p", "min_p", "repetition_penalty", "vllm_structured_outputs_regex")
    settings = {name: getattr(args, name) for name in names} | (args.generation_kwargs or {})
    return {k: v for k, v in settings.items() if k not in HARMLESS and v not in off.get(k, (None, 0, [], {}))}


def adapted_weights(model: nn.Module) -> list[nn.Parameter]:
    """The base weights that merging an adapter writes to; none without an adapter."""
    layers = [m.get_base_layer() for m in model.modules() if isinstance(m, BaseTunerLayer)]
    return [p for layer in layers for p in layer.parameters(recurse=False)]


def put_back_after(sync, weights: list[nn.Parameter]):
    """`sync`, after which `weights` hold what they held before its first call. The copy is kept on the CPU."""
    kept: list[torch.Tensor] = []

    @functools.wraps(sync)
    def wrapped(*args, **kwargs):
        if not kept:
            kept.extend(local(p).to("cpu", copy=True) for p in weights)
        result = sync(*args, **kwargs)
        for p, before in zip(weights, kept):
            local(p).copy_(before)
        return result

    return wrapped


def local(p: nn.Parameter) -> torch.Tensor:
    """This process's share of a weight that FSDP2 may have split; ZeRO-3 leaves an empty one, and sends copies."""
    return getattr(p, "to_local", lambda: p)().detach()
