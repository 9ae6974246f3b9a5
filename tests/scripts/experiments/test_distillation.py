"""The run script of distillation without its trainings, and what the saved results show."""

import json
import re

import pytest
from tiny_models import ROOT

from scripts import load_script

RESULTS = ROOT / "scripts/experiments/distillation/results/results.json"


@pytest.mark.slow
def test_distill_demo(no_training, tmp_path, capsys):
    script = load_script("distill")
    runs = no_training(script)
    sizes = ["--teacher_hidden", "16", "--student_hidden", "16", "--teacher_steps", "2", "--student_steps", "2"]
    script.main(["--output", str(tmp_path), "--seeds", "1", "2", *sizes, "--n", "20"])
    judges = [json.loads(run["--rewards"])[0].get("model") for run in runs]
    assert judges == [None, str(tmp_path / "teacher")] * 2
    for own, taught in zip(runs[::2], runs[1::2]):  # all else is equal
        assert {k for k in own if own[k] != taught[k]} == {"--output_dir", "--rewards"}
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["policies"]) == 2 * 4 * 2
    assert all(gain["under_teacher"] == gain["under_own"] == 0 for gain in results["gains"])
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "results.md").read_text()
    assert "more under the teacher's reward than under its own in 0 of 4 combinations" in text
    assert text in capsys.readouterr().out


def test_committed_distillation_is_of_the_recipe_and_shows_what_the_readme_says():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert set(results["command"][1::2]) <= {"--output"}  # with the default settings
    assert re.fullmatch(r"[0-9a-f]{40}", results["commit"])
    assert {row["n"] for row in results["policies"]} == {2000}
    rows = {(r["seed"], r["decoding"], r["name"]): r for r in results["policies"]}
    assert len({seed for seed, *_ in rows}) == 3
    for gain in results["gains"]:
        at = gain["seed"], gain["decoding"]
        taught = rows[*at, "student, teacher's EndoRM"]["accuracy"] - rows[*at, "student"]["accuracy"]
        assert taught == pytest.approx(gain["under_teacher"])
        assert gain["under_teacher"] > gain["under_own"]
