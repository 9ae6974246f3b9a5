"""The run script of the calculator with a short training, and what the saved results show."""

import json
import re

import pytest
from launching import launch, logged
from tiny_models import ROOT

from scripts import load_script
from train.tasks.calculator import calculator_tokenizer, imitate_calculator, write_splits

RESULTS = ROOT / "scripts/experiments/calculator/results/results.json"


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_the_recipes_run_with_the_tool(algorithm, tmp_path):
    """A base that calls now and then: rollouts have two turns, and evaluation has the tool too."""
    imitate_calculator(0, steps=60, batch_size=32, hidden=32).save_pretrained(tmp_path / "base")
    calculator_tokenizer().save_pretrained(tmp_path / "base")
    write_splits(tmp_path, n_train=128, n_heldout=16)
    fields = {"model_name_or_path": tmp_path / "base", "dataset_name": tmp_path / "train.jsonl", "max_steps": 2}
    fields |= {"heldout_name": tmp_path / "heldout.jsonl", "per_device_train_batch_size": 16, "eval_steps": 2}
    launch(f"{algorithm}_endorm", f"configs/demo/calculator_{algorithm}.yaml", tmp_path / "run", **fields)
    rows = logged(tmp_path / "run")
    assert sum("eval_rewards/called/mean" in row for row in rows) == 2  # before the first update and after the last
    assert max(row.get("tools/call_frequency", 0.0) for row in rows) > 0
    assert max(row.get("completions/turns", 0.0) for row in rows) > 1


@pytest.mark.slow
def test_the_run_script(monkeypatch, tmp_path, capsys):
    script = load_script("use_calculator")
    runs = []

    def run_stage(command, log):
        flags = dict(zip(command[command.index("--config") :: 2], command[command.index("--config") + 1 :: 2]))
        runs.append(flags)
        folder = tmp_path / flags["--output_dir"]
        folder.mkdir(parents=True)
        keys = ("eval_rewards/right_answer/mean", "eval_rewards/called/mean")
        history = [dict.fromkeys(keys, 0.25), {"completions/turns": 1.5}, dict.fromkeys(keys, 0.75)]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))

    monkeypatch.setattr(script, "run_stage", run_stage)
    script.main(["--output", str(tmp_path), "--seeds", "1", "--base_steps", "1"])
    assert len(runs) == 2 * len(script.MIXES)
    assert all("right_answer" in run["--rewards"] for run in runs)  # learned from or not, it is logged
    text = (tmp_path / "results.md").read_text()
    assert re.search(r"base +\| +0.250", text)
    assert re.search(r"PPO, EndoRM +\| +0.750", text)
    assert text in capsys.readouterr().out
    assert (tmp_path / "calls.png").read_bytes().startswith(b"\x89PNG")


def test_committed_results_are_of_three_seeds_with_the_default_settings():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert re.fullmatch(r"python \S+use_calculator\.py( --output \S+)?", results["command"])
    assert re.fullmatch(r"[0-9a-f]{40}", results["commit"])
    rows = [row for row in results["rows"] if row["rewards"] == "EndoRM and accuracy"]
    assert {(row["seed"], row["algorithm"]) for row in rows} == {(s, a) for s in range(3) for a in ("PPO", "GRPO")}
    assert all(row["accuracy after"] > row["accuracy before"] + 0.2 for row in rows)
    assert all(row["calls after"] > row["calls before"] + 0.2 for row in rows)
