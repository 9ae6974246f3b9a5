"""How TRL 1.12's PPOTrainer and ours are compared: the same settings for all, and differences paired by seed."""

import json
import shutil

import numpy as np
import pytest
from scipy.stats import t as student
from tiny_models import ROOT

from scripts import load_script
from train.tasks.arithmetic import build_tokenizer, write_splits
from train.tasks.arithmetic_model import build_model


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with an untrained base of the demo and its prompts."""
    folder = tmp_path_factory.mktemp("demo")
    write_splits(folder / "data", 40, 20, 0)
    build_model(tokenizer := build_tokenizer(), hidden=16, layers=1).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return folder


@pytest.fixture
def compare():
    return load_script("compare_trl_ppo")


@pytest.mark.slow
def test_all_trainers_get_the_same_and_finished_runs_stay(compare, demo, tmp_path, monkeypatch, capsys):
    """In place of a training, the model it starts from is its result."""
    stages = []

    def stage(command, log, environment=None):
        flags = {word[2:]: command[i + 1] for i, word in enumerate(command) if word.startswith("--")}
        script = next(word for word in command if word.endswith(".py"))
        stages.append(flags | {"script": script, "environment": environment})
        output, source = flags.get("save") or flags.get("output_dir") or flags["output"], demo / "base"
        shutil.copytree(source, output)
        if script == "scripts/experiments/arithmetic/make_base.py":
            shutil.copytree(demo / "data", f"{output}/../data")
            return
        metric = "objective/scores" if "save" in flags else "rewards/endorm/mean"
        history = [{"step": i, metric: -1.0 / i} for i in (1, 2, 3)] + [{"train_runtime": 1.0}]
        with open(f"{output}/trainer_state.json", "w") as file:
            json.dump({"log_history": history}, file)

    monkeypatch.setattr(compare, "run_stage", stage)
    monkeypatch.setattr(compare, "legacy_environment", lambda: {"old": "trl"})
    flags = ["--seeds", "3", "5", "--rollouts", "3", "--n", "20", "--output", str(tmp_path), "--jobs", "1"]
    monkeypatch.setattr("sys.argv", ["compare_trl_ppo.py", *flags])
    monkeypatch.chdir(ROOT)
    compare.main()
    assert len(stages) == 2 * 4
    bases, runs = stages[:2], stages[2:]
    assert [b["seed"] for b in bases] == ["3", "5"]
    for trl, terminal, dense in (runs[:3], runs[3:]):
        assert trl["seed"] == terminal["seed"] == dense["seed"]
        assert trl["environment"] == {"old": "trl"}
        assert terminal["environment"] is dense["environment"] is None
        assert [terminal["reward_placement"], dense["reward_placement"]] == ["terminal", "dense"]
        assert {k for k in terminal if terminal[k] != dense[k]} == {"reward_placement", "output_dir"}
        assert int(trl["rollouts"]) * int(trl["epochs"]) * int(trl["minibatches"]) == int(terminal["max_steps"]) == 12
        assert (trl["batch"], trl["warm_up"], trl["learning_rate"]) == ("128", "0", "0.0002")
    results = json.loads((tmp_path / "results.json").read_text())
    assert [r["name"] for r in results["runs"]] == [x for x in ("base", *compare.TRAINERS) for _ in range(2)]
    assert results["runs"][-1]["rewards"] == [-1.0, -0.5, pytest.approx(-1 / 3)]
    assert [d["accuracy intervals that overlap"] for d in results["differences"]] == [2, 2, 2]
    assert (tmp_path / "compare_trl_ppo.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "results.md").read_text() in capsys.readouterr().out
    compare.main()
    assert len(stages) == 2 * 4  # nothing again
    monkeypatch.setattr("sys.argv", ["compare_trl_ppo.py", *flags, "--rollouts", "4"])
    with pytest.raises(SystemExit, match="trained on 3 rollouts: choose another --output"):
        compare.main()


def test_differences_are_paired_by_seed(compare):
    shift, runs = dict(zip(compare.TRAINERS, (0.1, 0.15, 0.25))), []
    for name, gain in shift.items():
        for seed, noise in enumerate((0.0, 0.2, 0.4)):
            x = gain + noise + (0.03 if (seed, gain) == (0, 0.1) else 0)
            sampled = {"accuracy": x, "ci95": [x - 0.04, x + 0.04]}
            runs.append({"name": name, "sampled": sampled, "rewards": [noise, noise - 2 * gain]})
    first, second, third = compare.differences(runs)
    assert [(r["name"], r["over"]) for r in (first, second, third)] == [
        ("ours, terminal", "TRL 1.12, terminal"),
        ("ours, dense", "TRL 1.12, terminal"),
        ("ours, dense", "ours, terminal"),
    ]
    assert [r["accuracy intervals that overlap"] for r in (first, second, third)] == [3, 0, 0]
    accuracy, reward = (first[measure] for measure in compare.MEASURES)
    assert (accuracy["mean"], accuracy["higher"]) == (pytest.approx(0.04), 3)
    half = student.ppf(0.975, 2) * np.std([0.02, 0.05, 0.05], ddof=1) / 3**0.5
    assert accuracy["ci95"] == pytest.approx([0.04 - half, 0.04 + half])
    assert (reward["mean"], reward["higher"]) == (pytest.approx(-0.05), 0)


def test_the_saved_runs_have_accuracies_that_overlap_for_every_seed(compare):
    report = json.loads((ROOT / "scripts/experiments/trl_ppo/results/results.json").read_text(encoding="utf-8"))
    assert {(run["name"], run["seed"]) for run in report["runs"]} == {
        (name, seed) for name in ("base", *compare.TRAINERS) for seed in report["settings"]["seeds"]
    }
    assert all(row["accuracy intervals that overlap"] == row["seeds"] == 3 for row in report["differences"])
    assert compare.differences(report["runs"]) == report["differences"]
