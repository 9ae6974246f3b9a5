"""The verdicts of a plan of memory on the recipes, and the estimate of hours."""

import json

import pytest
from tiny_models import ROOT

from scripts import load_script

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


def test_the_qlora_recipe_fits_on_one_gpu_of_24_gb(script, model):
    recipe = ROOT / "configs/math/ppo_qwen2.5_math_7b_qlora.yaml"
    assert script.main(["--config", str(recipe), "--model_name_or_path", model("7b"), "--gpu_memory", "24"]) == 0


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
