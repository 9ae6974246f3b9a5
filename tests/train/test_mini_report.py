"""The page of the miniature says what its numbers say, and no more."""

import json
import shutil

import pytest
from conftest import ROOT

from train.mini_report import above_zero, page
from train.reward_table import summarise

BASE = {"greedy": 1.0, "tokens": 5.0, "entropy": 0.5, "kl": 0.0, "cut_off": 0.0}


def rewards(gain: float, second: float) -> dict:
    """What compare_rewards.py leaves behind, for three seeds whose sampled accuracy differs by 0.01."""
    noise = (-0.01, 0.0, 0.01)

    def runs(sampled: float) -> list[dict]:
        return [BASE | {"sampled": sampled + 0.5 * x} for x in noise]

    bases, first = [BASE | {"sampled": 0.55 + x} for x in noise], runs(0.55 + gain)
    results = {"EndoRM dense": first, "accuracy labels": runs(0.97), "format only": runs(0.55), "random": runs(0.3)}
    results["EndoRM dense, second round"] = [r | {"sampled": r["sampled"] + second + x} for r, x in zip(first, noise)]
    results["EndoRM dense, as long again"] = [r | {"sampled": r["sampled"] + 0.1 + x} for r, x in zip(first, noise)]
    rows = summarise({"base": bases} | results, bases, {"EndoRM dense, second round": first})
    listed = [{"name": n, "seed": i} | r for n, found in results.items() for i, r in enumerate(found)]
    controls = {"greedy": [1.0] * 3, "low_temperature": [0.999] * 3, "sampled": [b["sampled"] for b in bases]}
    return {"rows": rows, "controls": controls, "runs": listed}


@pytest.fixture
def folder(tmp_path):
    """The results of all stages: committed ones where there are, else made up."""
    for seed in range(3):
        (tmp_path / f"judge{seed}").mkdir()
        shutil.copy(ROOT / f"scripts/judge_results/seed{seed}.json", tmp_path / f"judge{seed}/results.json")
    for stage in ("theory", "steer"):
        shutil.copytree(ROOT / f"scripts/{stage}_results", tmp_path / stage.replace("steer", "steering"))
    gains = [
        {"seed": s, "decoding": d, "under_teacher": 0.4 + 0.01 * s, "under_own": 0.2}
        for s in range(3)
        for d in ("sampled", "greedy")
    ]
    write(tmp_path / "distillation", {"gains": gains})
    write(tmp_path / "rewards", rewards(0.42, 0.0))
    return tmp_path


def write(path, results) -> None:
    path.mkdir(exist_ok=True)
    (path / "results.json").write_text(json.dumps(results))


def test_sentences_claim_no_more_than_their_intervals():
    assert above_zero("A", (0.2, 0.1, 0.3)) == "A is above zero: +0.200 (+0.100 to +0.300)."
    assert above_zero("A", (-0.2, -0.3, -0.1)).startswith("A is below zero")
    assert above_zero("A", (0.1, -0.1, 0.3)).startswith("A is not told from zero")


def test_the_page_follows_the_numbers(folder):
    text = page(folder)
    assert "The gain of EndoRM, sampled, over the sampled base is above zero: +0.420" in text
    assert "less greedy decoding of the base is below zero: -0.030" in text
    assert "The second round's gain, greedy, is not told from zero" in text
    assert "Sampled, it is not told from zero" in text
    assert "steps more of the first round give, it is below zero: -0.100" in text
    assert "in 12 of 12 cases (3 seeds)" in text
    assert "share of verbose responses under that criterion is above zero" in text
    assert "sampled gain under the teacher less that under itself is above zero: +0.210" in text
    assert "8 of 8 checks pass" in text
    assert "(theory/theory.png)" in text
    assert "(steering/styles.png)" in text
    write(folder / "rewards", rewards(0.0, 0.1))
    text = page(folder)
    assert "over the sampled base is not told from zero" in text
    assert "Sampled, it is above zero: +0.100" in text


def test_a_stage_that_is_missing_is_named(folder):
    (folder / "theory" / "results.json").unlink()
    with pytest.raises(SystemExit, match="no results of theory in .*reproduce_mini.sh"):
        page(folder)
