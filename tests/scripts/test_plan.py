"""The plan of memory against what a real trainer holds, its verdicts on the recipes, and the estimate of hours."""

import json

import pytest
import torch
from helpers import COMMON, ppo, trained
from peft import LoraConfig
from tiny_models import ROOT, tiny_model
from transformers import AutoModelForCausalLM
from trl import ModelConfig, get_quantization_config

from scripts import load_script
from train.cost.memory import GIB, Plan, make_plan, proposals, read_shape, weights_of

SHAPES = {  # Qwen2.5-Math
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2},
}


@pytest.fixture(scope="module")
def script():
    module = load_script("plan")
    return module


@pytest.fixture
def model(tmp_path):
    def write(size):
        config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 28}
        config |= SHAPES[size] | {"vocab_size": 151936 + 128 * (size == "7b"), "tie_word_embeddings": size == "1.5b"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        return str(tmp_path)

    return write


def bytes_of(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("lora", [False, True])
def test_weights_and_optimizer_are_within_a_tenth_of_the_measured(lora, script, saved_model, tmp_path):
    recipe = script.read_recipe(ROOT / "configs" / "demo" / "ppo.yaml") | COMMON
    kwargs = {}
    if lora:
        recipe |= {"use_peft": True, "lora_r": 4}
        kwargs["peft_config"] = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    plan = make_plan(read_shape(saved_model), recipe, "single", 1)
    trainer = trained(ppo(saved_model, tmp_path, trainer_kwargs=kwargs, max_steps=1))
    moments = [x for s in trainer.optimizer.state.values() for x in s.values() if torch.is_tensor(x) and x.ndim > 0]
    assert plan.parts["policy"] == pytest.approx(bytes_of(trainer.model.parameters()), rel=0.1)
    assert plan.parts["optimizer (AdamW)"] == pytest.approx(bytes_of(moments), rel=0.1)
    frozen = 0 if lora else bytes_of(trainer.frozen_base._lm.parameters())
    assert plan.parts["frozen base"] == pytest.approx(frozen, rel=0.1)


def test_the_7b_recipe_fits_on_8_gpus_of_80_gb_and_not_on_one_of_24(script, model, capsys):
    recipe = ["--config", str(ROOT / "configs/math/ppo_qwen2.5_math_7b.yaml"), "--model_name_or_path", model("7b")]
    assert script.main([*recipe, "--accelerate", "configs/accelerate/zero3.yaml", "--gpus", "8"]) == 0
    out = capsys.readouterr().out
    assert "7.62B parameters" in out
    assert "This fits." in out
    assert script.main([*recipe, "--gpus", "1", "--gpu_memory", "24"]) == 1
    out = capsys.readouterr().out
    assert "does NOT fit" in out
    assert "configs/math/ppo_qwen2.5_math_1.5b_lora.yaml" in out
    assert "LoRA" in out.split("What would:")[1].splitlines()[1]


def test_the_lora_recipe_fits_on_one_gpu_of_80_gb(script, model):
    recipe = ["--config", str(ROOT / "configs/math/ppo_qwen2.5_math_1.5b_lora.yaml")]
    assert script.main([*recipe, "--model_name_or_path", model("1.5b"), "--gpu_memory", "80"]) == 0


def test_the_qlora_recipe_fits_on_one_gpu_of_24_gb_and_4_bit_weights_are_what_bitsandbytes_makes(
    script, model, tmp_path
):
    recipe = ROOT / "configs/math/ppo_qwen2.5_math_7b_qlora.yaml"
    assert script.main(["--config", str(recipe), "--model_name_or_path", model("7b"), "--gpu_memory", "24"]) == 0
    pytest.importorskip("bitsandbytes", reason="quantized weights need the optional extra qlora")
    small = tiny_model(hidden_size=128, intermediate_size=384, initializer_range=0.2)
    small.save_pretrained(tmp_path / "small")
    fields = script.read_recipe(recipe)
    quantization = get_quantization_config(ModelConfig(load_in_4bit=True, use_bnb_nested_quant=True, dtype="bfloat16"))
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "small", quantization_config=quantization, dtype="bfloat16"
    )
    assert weights_of(read_shape(tmp_path / "small"), fields, 2) == pytest.approx(
        loaded.get_memory_footprint(), rel=0.1
    )


def test_a_colocated_vllm_takes_its_share(script, saved_model):
    shape = read_shape(saved_model)
    recipe = script.read_recipe(ROOT / "configs/math/ppo_qwen2.5_math_7b.yaml")
    vllm = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.25}
    asleep = make_plan(shape, recipe | vllm | {"vllm_enable_sleep_mode": True}, "ddp", 2, 80 * GIB)
    awake = make_plan(shape, recipe | vllm | {"vllm_enable_sleep_mode": False}, "ddp", 2, 80 * GIB)
    assert asleep.parts["generation: KV cache or vLLM"] == awake.parts["vLLM, always awake"] == 20 * GIB
    server = make_plan(shape, recipe | vllm | {"vllm_mode": "server"}, "ddp", 2, 80 * GIB)
    assert server.parts["generation: KV cache or vLLM"] == 0
    assert server.peak < asleep.peak < awake.peak


def test_proposals_do_fit(script, model):
    recipe = script.read_recipe(ROOT / "configs/math/ppo_qwen2.5_math_7b.yaml")
    shape = read_shape(model("7b"))
    assert shape.parameters == 7_615_616_512  # of the published checkpoint
    found = proposals(shape, recipe, "ddp", 8, 60 * GIB)
    assert any("zero3" in text for text in found)
    assert all(float(text.rsplit(": ", 1)[1].split()[0]) <= 60 for text in found)


def test_the_peak_counts_one_moment_only_and_launchers_must_be_known(script, saved_model):
    parts = {
        "policy": 10,
        "generation: KV cache or vLLM": 5,
        "scoring: states and logits": 7,
        "update: activations": 6,
    }
    assert Plan(parts, {}).peak == 17
    recipe = script.read_recipe(ROOT / "configs/demo/grpo.yaml")
    with pytest.raises(ValueError, match="Unknown launcher 'zero4'"):
        make_plan(read_shape(saved_model), recipe, "zero4", 1)


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_hours_are_those_on_record_with_arithmetic_and_a_word_on_assumed_speeds(algorithm, script, tmp_path, capsys):
    path = tmp_path / "cost.json"
    recipe = ROOT / "configs" / "math" / f"{algorithm}_qwen2.5_math_7b.yaml"
    flags = ["--preset", "7b", "--measured", str(tmp_path), "--output", str(path)]
    assert script.main(["--config", str(recipe), "--hours", *flags]) == 0
    result, text = json.loads(path.read_text()), capsys.readouterr().out
    assert result["kind"] == "cost"
    assert set(result["estimates"]) == {"8", "64"}
    assert result["estimates"]["64"]["gpu_hours"]["central"] > 1
    assert "ALL efficiencies below are assumptions" in text
    assert "PFLOP / (989 TFLOP/s x 0.40)" in text
    assert path.with_suffix(".md").read_text().strip() == text.strip()
    kept = json.loads((ROOT / f"scripts/bench/results/cost_{algorithm}_7b.json").read_text())
    assert result["estimates"] == kept["estimates"]


def test_memory_is_of_one_number_of_gpus(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--config", str(ROOT / "configs/math/ppo_qwen2.5_math_7b.yaml"), "--gpus", "8", "64"])
    assert "add --hours" in capsys.readouterr().err
    recipe = ["--config", str(ROOT / "configs/math/ppo_qwen2.5_math_7b.yaml"), "--preset", "7b"]
    assert script.main([*recipe, "--accelerate", "zero3", "--gpus", "8"]) == 0
    assert "This fits." in capsys.readouterr().out
