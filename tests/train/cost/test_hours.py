"""Counted FLOPs are torch's own; the estimate moves with what it is made of, and says what it assumed."""

import pytest
import torch
from tiny_models import ROOT, tiny_model
from torch.utils.flop_counter import FlopCounterMode

from train.cost.hours import (
    ASSUMPTIONS,
    CASES,
    NODE,
    PEAK_FLOPS,
    Assumption,
    estimate,
    forward_flops,
    markdown,
    measured_utilisation,
    totals,
    with_measurements,
)
from train.cost.memory import shape_of
from train.cost.shapes import preset_config
from train.recipe import read_recipe

RECIPES = ROOT / "configs" / "math"
SHAPE = shape_of(preset_config("7b"))


def recipe(name="ppo_qwen2.5_math_7b", **changes):
    return read_recipe(RECIPES / f"{name}.yaml") | changes


def seconds(gpus=8, prompts=7500, assumptions=ASSUMPTIONS, name="ppo_qwen2.5_math_7b", **changes):
    lines = estimate(SHAPE, recipe(name, **changes), gpus, prompts, assumptions)
    return {line.part.split(":")[0].split(" ")[0]: line.seconds for line in lines}


@pytest.mark.parametrize("changes", [{}, {"head_dim": 16}, {"num_key_value_heads": 1, "num_hidden_layers": 3}])
def test_flops_of_a_forward_are_those_that_torch_counts(changes):
    model = tiny_model("llama", attn_implementation="eager", **changes)
    rows, length, kept = 3, 17, 5
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ids = torch.zeros(rows, length, dtype=torch.long)
        model(input_ids=ids, position_ids=torch.arange(length)[None], logits_to_keep=kept, use_cache=False)
    counted = forward_flops(shape_of(model.config), rows * length, rows * length**2, rows * kept)
    by_module = counter.get_flop_counts()
    # the rotary embedding multiplies frequencies by positions, which is no work worth counting
    rotary = sum(sum(ops.values()) for name, ops in by_module.items() if name.endswith("rotary_emb"))
    assert sum(counted.values()) == counter.get_total_flops() - rotary
    head = next(ops for name, ops in by_module.items() if name.endswith("lm_head"))
    assert counted["head"] == sum(head.values())


def test_kind_assumptions_cost_less_than_unkind_ones_in_every_part():
    for name in ("ppo_qwen2.5_math_7b", "grpo_qwen2.5_math_7b"):
        for gpus in (8, 64):
            for part, found in seconds(gpus, name=name).items():
                assert found["least"] <= found["central"] <= found["most"], part


def test_work_grows_with_prompts_and_with_responses_to_each():
    one, two = seconds(prompts=7500, eval_strategy="no"), seconds(prompts=15000, eval_strategy="no")
    assert all(two[part]["central"] == pytest.approx(2 * one[part]["central"]) for part in one)
    ppo, grpo = seconds(), seconds(name="grpo_qwen2.5_math_7b")
    assert grpo["update"]["central"] == pytest.approx(8 * ppo["update"]["central"])
    assert "critic" in ppo
    assert "critic" not in grpo


def test_update_by_hand():
    """8 GPUs, all communication hidden: 4 forwards' worth of the layers, 3 of the head, over padded tokens."""
    kind = {k: Assumption((a.values[0],) * 3, a.what) for k, a in ASSUMPTIONS.items()}
    width, own = 400 + 1024, 7500 / 8
    layers = 2 * SHAPE.linear_parameters * width + 4 * 3584 * 28 * width**2
    flops = own * (4 * layers + 3 * 2 * 3584 * SHAPE.vocab * 1024)
    assert seconds(assumptions=kind)["update"]["central"] == pytest.approx(flops / (PEAK_FLOPS * 0.5))


def test_more_gpus_cost_fewer_seconds_but_more_gpu_hours():
    small, large = (totals(estimate(SHAPE, recipe(), gpus, 7500))["central"] for gpus in (NODE, 64))
    assert large < small < large * 64 / NODE


def test_vllm_and_a_large_evaluation_batch_spare_decoding():
    assert seconds(use_vllm=True)["generation"]["central"] < seconds()["generation"]["central"]
    small, large = (seconds(per_device_eval_batch_size=n)["held-out"]["central"] for n in (8, 32))
    assert large == pytest.approx(small / 4, rel=0.1)


def test_a_second_epoch_on_a_rollout_doubles_the_update_alone():
    one, two = (seconds(num_iterations=n, eval_strategy="no", save_steps=8 * n) for n in (1, 2))
    doubled = {part for part in one if two[part]["central"] == pytest.approx(2 * one[part]["central"])}
    same = {part for part in one if two[part]["central"] == pytest.approx(one[part]["central"])}
    assert doubled == {"update", "optimizer"}
    assert same == set(one) - doubled


def test_without_checkpointing_the_update_is_one_forward_cheaper():
    with_, without = seconds()["update"]["least"], seconds(gradient_checkpointing=False)["update"]["least"]
    assert 0.7 < without / with_ < 0.85


def test_recipes_beyond_the_arithmetic_are_refused():
    with pytest.raises(ValueError, match="full fine-tuning"):
        estimate(SHAPE, recipe(use_peft=True), 8, 7500)
    with pytest.raises(ValueError, match="do not divide"):
        estimate(SHAPE, recipe(), 48, 7500)


def result(**changes):
    settings = {"preset": "1.5b", "vocab_size": 151936, "batch": 16, "prompt_tokens": 512, "response_tokens": 512}
    made = {"kind": "scoring", "device": "NVIDIA H100 80GB HBM3", "settings": settings | {"dtype": "bfloat16"}}
    return made | {"seconds": {"ours": [0.2, 0.1, 0.4]}} | changes


def test_a_measured_speed_takes_the_place_of_the_assumption():
    best, median, worst = measured_utilisation(result())
    assert (median, worst) == pytest.approx((best / 2, best / 4))
    shape = shape_of(preset_config("1.5b"))
    flops = 16 * (1024 * 2 * shape.linear_parameters + 2 * 28 * 1536 * 1024 * 1025 + 513 * 2 * 1536 * 151936)
    assert best == pytest.approx(flops / 0.1 / PEAK_FLOPS)
    found = with_measurements({"other.json": {"kind": "step"}, "x.json": result()})
    assert found["frozen_mfu"].values == (best, median, worst)
    assert "x.json" in found["frozen_mfu"].source
    assert {a.source for k, a in found.items() if k != "frozen_mfu"} == {"assumption"}


@pytest.mark.parametrize("changes", [{"device": "some CPU, 2 threads"}, {"kind": "step"}, {"settings": {}}])
def test_other_results_measure_nothing_of_an_h100(changes):
    assert measured_utilisation(result(**changes)) is None
    assert with_measurements({"x.json": result(**changes)}) == ASSUMPTIONS


def test_the_table_shows_every_part_and_adds_up():
    lines = estimate(SHAPE, recipe(), 8, 7500)
    table, total = markdown(lines, 8), totals(lines)
    assert all(line.part in table and line.arithmetic in table for line in lines)
    assert total["central"] == pytest.approx(sum(line.seconds["central"] for line in lines))
    assert f"**{total['central'] * 8 / 3600:,.1f}**" in table.splitlines()[-1]
    assert set(total) == set(CASES)
