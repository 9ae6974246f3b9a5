"""Trainings that are killed end as one that was left alone, and the check would notice if they did not."""

import json

import preloaded
import pytest

from scripts import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("check_kills")


@pytest.mark.slow
def test_a_training_of_two_processes_that_is_killed_ends_as_one_that_is_not(script, monkeypatch, tmp_path, capsys):
    for name, value in preloaded.variables().items():
        monkeypatch.setenv(name, value)
    arguments = ["--kills", "1", "--processes", "2", "--algorithms", "grpo", "--output", str(tmp_path)]
    assert script.main(arguments) == 0
    assert "every start went on" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "kills.json").read_text())["rows"]
    assert (row["kills"], row["largest difference of a weight"], row["wrong"]) == (1, 0.0, [])
    assert row["trainings that ended"] >= 1


def test_the_newest_checkpoint_is_the_highest_that_was_finished(script, tmp_path):
    assert script.newest_of(tmp_path) is None
    for step in (9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}/complete.json").touch()
    assert script.newest_of(tmp_path) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize("row", [{"wrong": ["x"]}, {"largest difference of a weight": 1e-7}])
def test_a_difference_fails(row, script, monkeypatch, capsys):
    facts = {"algorithm": "ppo", "kills": 1, "largest difference of a weight": 0.0, "wrong": []} | row
    monkeypatch.setattr(script, "check", lambda *_: facts)
    assert script.main(["--processes", "1"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_step_that_is_missing_or_doubled_is_noticed(script, tmp_path):
    training = script.Training([], tmp_path)
    rows = [{"step": step, "loss": 0.0} for step in (*range(1, script.STEPS + 1), script.STEPS)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    training.differences(tmp_path / "no weights")
    assert "steps in metrics.jsonl" in training.wrong[0]
