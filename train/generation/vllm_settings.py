"""Which recipes vLLM can make rollouts for.

vLLM's log-probs are those of what it samples from (processed_logprobs): at the temperature, as the trainer's are, but
also after top-k, top-p, penalties and whatever else changes the distribution, of which the trainer's know nothing. The
ratio of the two, by which TRL weighs the loss (`vllm_importance_sampling_correction`, on by default), is then the
probability that the cut kept, in TRL's default mode its product over a response, which is near 0 and takes the
gradient with it. So such settings are refused. Without the correction the policy is updated as after transformers'
own generation: at log-probs before the cut. A server that gives raw_logprobs is right at temperature 1 only, of which
TRL warns.
"""

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
