"""Settings of a recipe that rollouts by vLLM cannot have."""

from types import SimpleNamespace

import pytest
from trl import GRPOConfig

from train.generation.vllm_settings import check_vllm

CUTS = [
    {"top_k": 1},
    {"top_p": 0.9},
    {"min_p": 0.1},
    {"repetition_penalty": 1.1},
    {"vllm_structured_outputs_regex": "[0-9]+"},
    {"generation_kwargs": {"min_tokens": 4}},
    {"generation_kwargs": {"logit_bias": {"3": -5.0}}},
    {"generation_kwargs": {"bad_words": ["a"]}},
    {"generation_kwargs": {"frequency_penalty": 0.5}},
    {"generation_kwargs": {"temperature": 0.5}},
    {"generation_kwargs": {"temperature": 0}},
    {"generation_kwargs": {"top_p": None}},  # the model's generation config decides
    {"generation_kwargs": {"logprobs": 3}},  # TRL would take the likeliest token's
    {"generation_kwargs": {"a_setting_of_tomorrow": 1}},
]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_cut_is_refused_where_the_ratio_counts(cut, tmp_path):
    def config(**settings):
        return GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **(cut | settings))

    name, value = next(iter(cut.get("generation_kwargs", cut).items()))
    with pytest.raises(ValueError, match=rf"use_vllm with {name}: .*vllm_importance_sampling_correction: false"):
        check_vllm(config(use_vllm=True), quantized=False)
    uncorrected = {"use_vllm": True, "vllm_importance_sampling_correction": False}
    with pytest.raises(ValueError, match="off_policy_mask_threshold: null"):
        check_vllm(config(**uncorrected, off_policy_mask_threshold=0.5), quantized=False)
    check_vllm(config(**uncorrected), quantized=False)
    check_vllm(config(use_vllm=False), quantized=False)


def test_what_changes_no_distribution_is_not_refused(tmp_path):
    harmless = {"seed": 1, "stop": ["x"], "top_k": -1, "min_p": None, "temperature": 0.7, "logit_bias": {}}
    harmless |= {"presence_penalty": 0.0, "min_tokens": 0}
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "use_vllm": True, "temperature": 0.7}
    check_vllm(GRPOConfig(**settings, top_p=1.0, min_p=0.0, generation_kwargs=harmless), quantized=False)


def test_a_quantized_policy_and_vllm_are_refused(saved_model, tmp_path):
    with pytest.raises(ValueError, match="drop use_vllm"):
        check_vllm(SimpleNamespace(use_vllm=True), quantized=True)
    check_vllm(SimpleNamespace(use_vllm=False), quantized=True)
