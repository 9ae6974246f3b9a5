"""The plan of memory against what a real model, cache, adapter and trainer hold, and its parts by hand."""

import pytest
import torch
from helpers import COMMON, ppo, trained
from peft import LoraConfig, get_peft_model
from tiny_models import ROOT, tiny_config, tiny_model
from transformers import AutoModelForCausalLM
from trl import ModelConfig, get_quantization_config

from rewards.frozen.batching import batches_by_tokens
from train.cost.memory import (
    GIB,
    HEADROOM,
    MOMENTS,
    Plan,
    Shape,
    make_plan,
    proposals,
    read_shape,
    shape_of,
    weights_of,
)
from train.cost.shapes import preset_config
from train.recipe import read_recipe

ARCHITECTURES = ["qwen2", "llama", "gemma2", "granite", "cohere", "gpt2"]
SHAPE = shape_of(preset_config("7b", 152064))
PARTS = ("policy", "gradients", "optimizer (AdamW)", "frozen base")
# which of them DeepSpeed's stages and FSDP2 split over the GPUs
SPLIT = {"single": "", "ddp": "", "zero1": "o", "zero2": "og"}
SPLIT |= dict.fromkeys(["zero3", "zero3_offload", "fsdp2"], "ogpf")


def recipe(name="ppo_qwen2.5_math_7b", **changes):
    return read_recipe(ROOT / "configs/math" / f"{name}.yaml") | changes


def bytes_of(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


# ---------------------------------------------------------------------- shapes


@pytest.mark.parametrize("changes", [{}, {"head_dim": 16}, {"tie_word_embeddings": True, "num_key_value_heads": 1}])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_shape_is_that_of_the_model_itself(architecture, changes):
    """Parameters, the cache of a forward, and the adapter that PEFT puts on every linear layer."""
    changes = {} if architecture == "gpt2" else changes
    model = tiny_model(architecture, **changes)
    shape = shape_of(tiny_config(architecture, **changes))
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        cache = model(input_ids=torch.ones(3, 5, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert held == 3 * 5 * shape.layers * shape.kv_width
    lora = LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM", fan_in_fan_out=architecture == "gpt2")
    adapted = get_peft_model(model, lora)
    assert 3 * shape.lora_parameters == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    targets = [m for m in adapted.modules() if hasattr(m, "base_layer")]
    assert shape.linear_parameters == sum(m.base_layer.weight.numel() for m in targets)
    states = (shape.hidden, shape.vocab)
    assert states == (model.get_input_embeddings().embedding_dim, model.get_output_embeddings().out_features)


def test_reading_a_shape_loads_no_weights(tmp_path):
    tiny_config("qwen2").save_pretrained(tmp_path)  # there are none to load
    assert read_shape(str(tmp_path)) == shape_of(tiny_config("qwen2"))


# ---------------------------------------------------------------------- parts


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [False, True])
def test_weights_and_optimizer_are_those_that_a_trainer_holds(lora, dtype, saved_model, tmp_path):
    fields = read_recipe(ROOT / "configs" / "demo" / "ppo.yaml") | COMMON | {"dtype": dtype}
    kwargs = {}
    if lora:
        fields |= {"use_peft": True, "lora_r": 4}
        kwargs["peft_config"] = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    plan = make_plan(read_shape(saved_model), fields, "single", 1)
    settings = {"max_steps": 1, "model_init_kwargs": {"dtype": dtype}}
    trainer = trained(ppo(saved_model, tmp_path, trainer_kwargs=kwargs, **settings))
    moments = [x for s in trainer.optimizer.state.values() for x in s.values() if torch.is_tensor(x) and x.ndim > 0]
    assert plan.parts["policy"] == bytes_of(trainer.model.parameters())
    assert plan.parts["gradients"] == bytes_of(p for p in trainer.model.parameters() if p.requires_grad)
    assert plan.parts["optimizer (AdamW)"] == bytes_of(moments)
    frozen = 0 if lora else bytes_of(trainer.frozen_base._lm.parameters())
    assert plan.parts["frozen base"] == frozen


@pytest.mark.parametrize("launcher", SPLIT)
def test_each_launcher_splits_what_it_says(launcher):
    one, four = (make_plan(SHAPE, recipe(), launcher, gpus).parts for gpus in (1, 4))
    for part in PARTS:
        assert four[part] == one[part] // (4 if part[0] in SPLIT[launcher] else 1)
    assert (one["optimizer (AdamW)"] == 0) == (launcher == "zero3_offload")
    assert make_plan(SHAPE, recipe(), f"cpu_{launcher}", 4).parts == four
    gathered = four["layers gathered from other GPUs"]
    assert gathered == (2 * SHAPE.parameters * 2 // 28 if "p" in SPLIT[launcher] else 0)


@pytest.mark.parametrize(
    "launcher, changes, bytes_each",
    [
        ("zero2", {}, (2, 2, 12)),  # DeepSpeed's bf16: fp32 master weights and two moments in the optimizer
        ("ddp", {"dtype": "float32"}, (4, 4, 8)),
        ("ddp", {"dtype": None}, (4, 4, 8)),
        ("fsdp2", {"dtype": "bfloat16"}, (2, 2, 4)),
        ("zero2", {"bf16": False, "dtype": "float32"}, (4, 4, 8)),
    ],
)
def test_bytes_of_each_parameter_in_full_training(launcher, changes, bytes_each):
    parts = make_plan(SHAPE, recipe(**changes), launcher, 1).parts
    assert [parts[p] for p in PARTS[:3]] == [each * SHAPE.parameters for each in bytes_each]


@pytest.mark.parametrize(
    "launcher, changes, each",
    [
        ("ddp", {}, (4, 4, 8)),  # PEFT makes the adapters of a bf16 model fp32
        ("ddp", {"load_in_4bit": True}, (2, 2, 4)),  # and TRL those of a quantized one bf16 again
        ("ddp", {"load_in_8bit": True, "dtype": "float32"}, (2, 2, 4)),
        ("zero2", {}, (2, 2, 12)),
        ("zero3", {"bf16": False}, (2, 2, 4)),
    ],
)
def test_bytes_of_each_parameter_of_an_adapter(launcher, changes, each):
    fields = recipe("ppo_qwen2.5_math_1.5b_lora", lora_r=16, **changes)
    parts, trained_parameters = make_plan(SHAPE, fields, launcher, 1).parts, 16 * SHAPE.lora_parameters
    base = weights_of(SHAPE, fields, 4 if fields["dtype"] == "float32" else 2)
    found = (parts["policy"] - base, parts["gradients"], parts["optimizer (AdamW)"])
    assert found == tuple(size * trained_parameters for size in each)
    assert parts["frozen base"] == 0  # the policy with its adapter off


def test_quantized_weights_by_hand():
    made = {"hidden": 0, "layers": 0, "query_width": 0, "kv_width": 0, "vocab": 0, "intermediate": 0}
    shape = Shape(parameters=1000, linear_parameters=640, lora_parameters=0, **made)
    plain = {"load_in_4bit": False, "load_in_8bit": False, "use_bnb_nested_quant": False}
    assert weights_of(shape, plain, 4) == 4000
    assert weights_of(shape, plain | {"load_in_8bit": True}, 2) == 640 + 360 * 2
    assert weights_of(shape, plain | {"load_in_4bit": True}, 2) == 640 // 2 + 640 // 64 * 4 + 360 * 2
    nested = plain | {"load_in_4bit": True, "use_bnb_nested_quant": True}
    assert weights_of(shape, nested, 2) == 640 // 2 + 640 // 64 + 360 * 2


def test_4_bit_weights_are_what_bitsandbytes_makes(tmp_path):
    pytest.importorskip("bitsandbytes", reason="quantized weights need the optional extra qlora")
    small = tiny_model(hidden_size=128, intermediate_size=384, initializer_range=0.2)
    small.save_pretrained(tmp_path)
    quantization = get_quantization_config(ModelConfig(load_in_4bit=True, use_bnb_nested_quant=True, dtype="bfloat16"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=quantization, dtype="bfloat16")
    planned = weights_of(read_shape(tmp_path), recipe("ppo_qwen2.5_math_7b_qlora"), 2)
    assert planned == pytest.approx(loaded.get_memory_footprint(), rel=0.1)


def test_a_colocated_vllm_takes_its_share():
    vllm = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.25}
    asleep = make_plan(SHAPE, recipe(**vllm, vllm_enable_sleep_mode=True), "ddp", 2, 80 * GIB)
    awake = make_plan(SHAPE, recipe(**vllm, vllm_enable_sleep_mode=False), "ddp", 2, 80 * GIB)
    assert asleep.parts["generation: KV cache or vLLM"] == awake.parts["vLLM, always awake"] == 20 * GIB
    server = make_plan(SHAPE, recipe(**vllm | {"vllm_mode": "server"}), "ddp", 2, 80 * GIB)
    assert server.parts["generation: KV cache or vLLM"] == 0
    assert server.peak < asleep.peak < awake.peak


def test_the_peak_counts_one_moment_only():
    parts = dict(zip(("policy", *MOMENTS), (10, 5, 7, 6)))
    assert Plan(parts, {}).peak == 17


@pytest.mark.parametrize("field", ["max_completion_length", "per_device_train_batch_size", "steps_per_generation"])
def test_longer_and_larger_rollouts_never_need_less(field):
    small, large = (make_plan(SHAPE, recipe() | {field: n}, "zero3", 8) for n in (16, 64))
    assert large.peak >= small.peak
    assert all(large.parts[part] >= size for part, size in small.parts.items())
    assert large.parts[MOMENTS[0]] > small.parts[MOMENTS[0]]


def test_checkpointing_spares_activations_alone():
    kept, again = (make_plan(SHAPE, recipe(gradient_checkpointing=on), "ddp", 1).parts for on in (False, True))
    assert {part for part in kept if kept[part] != again[part]} == {MOMENTS[2]}
    assert kept[MOMENTS[2]] > 10 * again[MOMENTS[2]]


@pytest.mark.parametrize("budget", [100, 150, 750, 8192])
def test_work_by_counting(budget):
    """A rollout of 3 GPUs, microbatch by microbatch, with the batches that the frozen base makes of it."""
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 8}
    lengths = {"max_prompt_length": 60, "max_completion_length": 40, "frozen_batch_tokens": budget}
    work = make_plan(SHAPE, recipe(**sizes, **lengths, num_iterations=3), "ddp", 3).work
    forwards = updates = 0
    for epoch in range(4):  # the first for the log-probs of the rollout
        for micro in range(1, 9):
            forwards += 1
            updates += epoch > 0 and micro % 2 == 0
    assert work == {
        "responses a rollout, all GPUs": 3 * 32,
        "tokens a rollout, at most": 3 * 32 * 100,
        "updates a rollout": updates,
        "frozen forwards a rollout and GPU, full length": len(batches_by_tokens([100] * 32, budget)),
        "policy forwards a rollout and GPU": forwards,
    }


# ---------------------------------------------------------------------- what is refused, what would fit


@pytest.mark.parametrize(
    "changes, launcher, gpus, message",
    [
        ({}, "zero4", 1, "Unknown launcher 'zero4'; known: single, ddp, zero1"),
        ({}, "ddp", 0, "at least one GPU, got 0"),
        ({"dtype": "fp8"}, "ddp", 1, "Unknown dtype 'fp8'; known: float32, bfloat16"),
        ({"frozen_dtype": "bf16"}, "ddp", 1, "Unknown dtype 'bf16'"),
    ],
)
def test_plans_that_cannot_be_made_say_why(changes, launcher, gpus, message):
    with pytest.raises(ValueError, match=message):
        make_plan(SHAPE, recipe(**changes), launcher, gpus)


@pytest.mark.parametrize("gpus, memory", [(8, 60), (1, 141), (2, 80)])
def test_proposals_do_fit(gpus, memory):
    found = proposals(SHAPE, recipe(), "ddp", gpus, memory * GIB)
    assert found
    assert any("zero3" in text for text in found) == (gpus == 8)
    assert all(float(text.rsplit(": ", 1)[1].split()[0]) <= HEADROOM * memory for text in found)
    assert gpus > 1 or not any("ZeRO" in text or "zero3" in text for text in found)


def test_nothing_is_proposed_that_is_so_already_or_does_not_help():
    lora = recipe("ppo_qwen2.5_math_1.5b_lora", frozen_dtype="bfloat16")
    found = proposals(SHAPE, lora, "ddp", 1, 10_000 * GIB)
    assert [text.split(" (")[0].split(":")[0] for text in found] == [
        "a quarter of the rollout at a time",
        "LoRA and a quarter of the rollout",
        "QLoRA",
    ]
    assert not proposals(SHAPE, recipe(), "ddp", 8, GIB)
