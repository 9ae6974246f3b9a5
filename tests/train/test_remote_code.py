"""A model's own code runs when the user asks for it, wherever a model is loaded, and never else."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from peft import LoraConfig, get_peft_model
from tiny_models import PROBLEMS
from transformers import AutoModelForCausalLM, Qwen2Config, dynamic_module_utils

from rewards.frozen.loading import load_causal_lm
from rewards.preferences.judging import EndoRMScores, load_judge
from scripts import load_script
from train.evaluation.sampling import TransformersSampler, VLLMSampler

CODE = {
    "configuration_own.py": """
from transformers import Qwen2Config
class OwnConfig(Qwen2Config):
    model_type = "own"
""",
    "modeling_own.py": """
from transformers import Qwen2ForCausalLM
from .configuration_own import OwnConfig
class OwnForCausalLM(Qwen2ForCausalLM):
    config_class = OwnConfig
""",
}


@pytest.fixture
def own(rehearsal, tmp_path, monkeypatch) -> Path:
    """Folder of a model with code of its own, which leaves `ran` beside it once it runs."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for module in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, module)
    folder = tmp_path / "own"
    shutil.copytree(rehearsal, folder)
    for name, code in CODE.items():
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{code}")
    config = json.loads((folder / "config.json").read_text())
    classes = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
    }
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class LLM:
    """Stands in for vLLM's, and loads as it does."""

    def __init__(self, model, dtype, trust_remote_code):
        load_causal_lm(model, dtype, "cpu", trust_remote_code)


def adapter_sampler(own, asked):
    """Sampler of a LoRA adapter whose base is the model."""
    folder = own.parent / f"adapter-{asked}"
    shutil.copytree(own, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.py", "config.json"))
    base = AutoModelForCausalLM.from_config(Qwen2Config.from_pretrained(own))  # the same, by transformers' own class
    base.name_or_path = str(own)
    get_peft_model(base, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")).save_pretrained(folder)
    return TransformersSampler(str(folder), device="cpu", trust_remote_code=asked)


LOADS = {
    "load_causal_lm": lambda own, asked: load_causal_lm(str(own), device="cpu", trust_remote_code=asked),
    "sampler": lambda own, asked: TransformersSampler(str(own), device="cpu", trust_remote_code=asked),
    "vllm": lambda own, asked: VLLMSampler(str(own), trust_remote_code=asked),
    "adapter": adapter_sampler,
    "endorm": lambda own, asked: EndoRMScores(
        str(own), own.parent / "cache", device="cpu", trust_remote_code=asked
    ).base(),
    "judge": lambda own, asked: load_judge("generative_verifier", str(own), device="cpu", trust_remote_code=asked),
}


@pytest.mark.parametrize("load", LOADS)
def test_only_who_asks_for_it_runs_a_models_code(load, own, tmp_path, monkeypatch):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    with pytest.raises(ValueError, match="trust_remote_code"):
        LOADS[load](own, False)
    assert not (tmp_path / "ran").exists()
    LOADS[load](own, True)
    assert (tmp_path / "ran").exists()


def run(name, *flags):
    module = load_script(name)
    module.main([str(flag) for flag in flags])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eval_judges", "eval_math"])
def test_the_evaluations_have_the_flag_that_transformers_asks_for(name, own, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": p, "chosen": "ab", "rejected": "c"}) + "\n" for p in "xyz"))
    problems = tmp_path / "mine.jsonl"
    problems.write_text("".join(json.dumps(p | {"answer": "5"}) + "\n" for p in PROBLEMS[:2]))
    shared = ["pairs"] * (name == "eval_judges") + [
        "--model",
        own,
        "--device",
        "cpu",
        "--draws",
        50,
        "--output",
        tmp_path / "out",
    ]
    flags = {
        "eval_judges": [
            "--cache",
            tmp_path / "cache",
            "--judge",
            "endorm",
            "implicit_reward",
            "--reference",
            own,
            "--data",
            pairs,
        ],
        "eval_math": ["--benchmarks", f"mine={problems}", "--max_tokens", 4, "--workers", 1],
    }[name]
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        run(name, *shared, *flags)
    assert not (tmp_path / "ran").exists()
    run(name, *shared, *flags, "--trust_remote_code")
    assert (tmp_path / "ran").exists()
    assert (tmp_path / "out/results.json").exists()
