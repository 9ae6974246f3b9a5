"""The middle size, rehearsed: a base from scratch in a few steps, then PPO by its recipe."""

import importlib.util
import json
import math
import subprocess

import pytest
from conftest import ROOT
from launching import SMALL, launch, logged
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with base/ and data/ of a tiny base."""
    path = ROOT / "scripts" / "make_middle_base.py"
    spec = importlib.util.spec_from_file_location("make_middle_base", path)
    spec.loader.exec_module(script := importlib.util.module_from_spec(spec))
    folder = tmp_path_factory.mktemp("middle")
    rows = [{"problem": f"What is {i} + 1?", "solution": rf"It is \boxed{{{i + 1}}}."} for i in range(40)]
    for name in ("gsm8k_train", "math_train"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = "--hidden 64 --layers 1 --vocab_size 400 --batch_tokens 256 --length 128 --n_train 16 --n_heldout 4"
    script.main(["--output", str(folder / "base"), "--data", str(folder), "--steps", "8", *sizes.split()])
    return folder


def test_base_loads_and_says_what_it_is(made):
    base = made / "base"
    facts = json.loads((base / "base.json").read_text())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    assert facts["steps"] == 8
    assert facts["tokens"] == 8 * 256
    assert facts["parameters"] == model.num_parameters()
    assert all(0 < loss < math.log(400) + 0.5 for loss in facts["heldout_loss"].values())
    assert tokenizer.chat_template is None
    assert (base / "model.safetensors").is_file()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    text = "Question: Ada has 12 eggs.\nAnswer: 12 + 3 = 15"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert {p.name for p in (made / "data").iterdir()} == {"train.jsonl", "heldout.jsonl", "gsm8k_heldout.jsonl"}


def test_recipe_runs_on_it(made, tmp_path):
    fields = SMALL | {"bf16": False, "eval_steps": 3, "max_heldout_samples": 2, "per_device_eval_batch_size": 2}
    data = {"dataset_name": made / "data/train.jsonl", "heldout_name": made / "data/heldout.jsonl"}
    launch("ppo_endorm", "configs/middle/ppo.yaml", tmp_path, model_name_or_path=made / "base", **data, **fields)
    rows = logged(tmp_path)
    merged = {key: value for row in rows for key, value in row.items()}
    assert rows[-1]["step"] == 3
    assert merged["eval_rewards/accuracy/mean"] == 0.0  # 16 tokens don't reach an answer
    assert [key for key, value in merged.items() if not math.isfinite(value)] == []


def test_shell_script_names_its_options():
    done = subprocess.run(["bash", "scripts/middle_size.sh", "--wrong"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--rehearse" in done.stdout
