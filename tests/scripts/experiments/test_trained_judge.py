"""The recipe of the trained judge, its run script without a training, and what the saved results show."""

import json
import re

import pytest
import yaml
from launching import SMALL, launch, logged
from tiny_models import ROOT

from scripts import load_script
from train.tasks.judge_pairs import write_splits

RECIPE = "configs/demo/judge_grpo.yaml"
RESULTS = ROOT / "scripts/experiments/trained_judge/results/results.json"


@pytest.fixture
def script():
    return load_script("train_judge")


def test_the_recipe_pays_for_right_verdicts_alone():
    recipe = yaml.safe_load((ROOT / RECIPE).read_text())
    assert recipe["reward_funcs"] == ["right_verdict"]
    assert recipe["per_device_train_batch_size"] * recipe["steps_per_generation"] == 64


@pytest.mark.slow
def test_the_recipe_on_a_rehearsal_model(rehearsal, tmp_path):
    train, _ = write_splits(tmp_path)
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": train, "max_steps": 2, "bf16": False}
    launch("grpo_endorm", RECIPE, tmp_path / "run", **fields, num_generations=2)
    metrics = {k: v for row in logged(tmp_path / "run") for k, v in row.items()}
    assert metrics["rewards/right_verdict/mean"] == 0  # random text has no verdict
    assert metrics["right_verdict/unparsable"] == 1


def test_a_summary_counts_pairs_and_their_orders(script):
    rows = [{"winner": winner} for winner in "ABABABAB"]
    found = script.summary("judge", 3, ["A", "B", "A", "A", None, "B", "B", "A"], rows)
    assert (found["accuracy"], found["both_orders"], found["pairs"]) == (0.5, 0.25, 4)
    assert found["ci95"][0] <= 0.5 <= found["ci95"][1]
    assert (found["says_a"], found["unparsable"], found["verdicts"]) == (4 / 7, 1 / 8, "ABAA-BBA")
    silent = script.summary("judge", None, [None] * 8, rows)
    assert (silent["accuracy"], silent["says_a"], silent["unparsable"]) == (0, None, 1)
    assert re.search(r"judge +\| +\| 0.000 \(0.000 to 0.000\) +\| +0.000 +\| +– +\| +1.000", script.markdown([silent]))


def test_reasons_are_right_or_wrong_and_a_verdict_follows_them_or_not(script):
    rows = [{"winner": "A", "right": "Lima", "wrong": "Oslo"}] * 5
    said = [("A", " Lima."), ("B", " Lima."), ("B", " Oslo."), (None, " Oslo."), ("A", " Paris.")]
    assert script.reasons(said, rows) == {"reason_right": 2 / 5, "follows_reason": 2 / 4}
    assert script.reasons(said[-1:], rows[:1]) == {"reason_right": 0, "follows_reason": None}


def test_judges_that_write_nothing_read_the_pair_in_the_order_shown(script, saved_judge, tmp_path):
    _, heldout = write_splits(tmp_path, n_heldout=3)
    rows = [json.loads(line) for line in heldout.read_text().splitlines()]
    found = script.unwritten(saved_judge, rows)
    assert {len(verdicts) for verdicts in found.values()} == {6}
    by_endorm = found[script.ENDORM]
    assert all(a != b for a, b in zip(by_endorm[::2], by_endorm[1::2]))  # no position, so no bias for one


@pytest.mark.slow
def test_the_run_script(script, saved_judge, no_training, tmp_path, capsys, monkeypatch):
    runs = no_training(script)
    taken = script.run_stage

    def run_stage(command, log):
        taken(command, log)
        history = [{"rewards/right_verdict/mean": 0.5, "right_verdict/unparsable": 0.25}, {"train_loss": 0.1}]
        state = json.dumps({"log_history": history, "global_step": 48})
        (tmp_path / runs[-1]["--output_dir"] / "trainer_state.json").write_text(state)

    monkeypatch.setattr(script, "run_stage", run_stage)
    script.main(["--model", str(saved_judge), "--output", str(tmp_path), "--seeds", "0", "5", "--n_heldout", "3"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert [run["--seed"] for run in runs] == ["0", "5"]
    assert [(row["judge"], row["seed"]) for row in results["rows"]][2:] == [
        (script.BASE, None),
        (script.TRAINED, 0),
        (script.TRAINED, 5),
    ]
    assert {row["verdicts"] for row in results["rows"][2:]} == {results["rows"][2]["verdicts"]}  # nothing was learned
    script.main(["--model", str(saved_judge), "--output", str(tmp_path), "--seeds", "0", "5", "--n_heldout", "3"])
    assert len(runs) == 2  # both are there
    assert results["trainings"] == {seed: [{"reward": 0.5, "unparsable": 0.25}] for seed in ("0", "5")}
    assert (tmp_path / "results.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_committed_results_are_of_the_recipe(script):
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert re.match(r"python \S+train_judge\.py", results["command"])
    assert re.match(r"[0-9a-f]{40}", results["commit"])
    rows = results["rows"]
    assert {row["judge"] for row in rows} == {script.BASE, script.TRAINED, script.LOGITS, script.ENDORM}
    assert {len(row["verdicts"]) for row in rows} == {128}
    assert {row["seed"] for row in rows if row["judge"] == script.TRAINED} == set(results["settings"]["seeds"])
