"""The page of the paper's claims: its numbers are those of the experiments that it links, and its script runs them."""

import json
import re

import numpy as np
import pytest
from tiny_models import ROOT

from rewards.reporting.intervals import student
from rewards.reporting.tables import with_interval
from scripts import load_script

EXPERIMENTS = ROOT / "scripts/experiments"
FOLDER = EXPERIMENTS / "paper"


@pytest.fixture(scope="module")
def page():
    return " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())


def saved(path: str) -> dict:
    return json.loads((EXPERIMENTS / path).read_text(encoding="utf-8"))


def signed(differences) -> str:
    return with_interval(*student(differences), "+.3f")


def test_the_numbers_of_training_and_of_a_second_round_are_the_saved_ones(page):
    report, script = saved("paper/results/rewards.json"), load_script("second_round")
    (base,) = (row for row in report["rows"] if row["name"] == "base")
    trained = [run["sampled"] for run in report["runs"] if run["name"] == script.ONE]
    gain = np.subtract(trained, report["controls"]["sampled"])
    assert np.mean(report["controls"]["sampled"]) == pytest.approx(base["sampled"][0])
    assert signed(gain) in page
    assert signed(np.subtract(trained, report["controls"]["greedy"])) in page
    for over in (script.ONE, script.LONGER):
        assert with_interval(*script.difference(report, script.TWO, over, "sampled"), "+.3f") in page
    mean, low, high = script.difference(report, script.TWO, script.ONE, "greedy")
    assert low < 0 < high  # greedy answers do not change
    assert abs(mean) < 0.002


def test_differences_between_rounds_are_paired_by_seed():
    script = load_script("second_round")
    runs = [{"name": script.ONE, "seed": s, "sampled": a} for s, a in ((0, 0.5), (1, 0.7))]
    runs += [{"name": script.TWO, "seed": s, "sampled": a} for s, a in ((1, 0.8), (0, 0.6))]
    mean, low, high = script.difference(
        {"runs": runs, "settings": {"seeds": [0, 1]}}, script.TWO, script.ONE, "sampled"
    )
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_the_numbers_of_the_other_experiments_are_the_saved_ones(page):
    gains = [g for g in saved("distillation/results/results.json")["gains"] if g["decoding"] == "sampled"]
    assert signed([g["under_teacher"] - g["under_own"] for g in gains]) in page
    shares = {(r["seed"], r["policy"]): r for r in saved("steering/results/results.json")["policies"]}
    for style in ("terse", "verbose"):
        rises = [
            shares[seed, f"PPO under {style}"][style]["share"] - shares[seed, "base, no criterion"][style]["share"]
            for seed in range(3)
        ]
        assert signed(rises) in page
    labels = [saved(f"judging/results/seed{seed}.json")["labels"] for seed in range(3)]
    assert {f"{run['endorm'][0]['accuracy']:.2f}" for run in labels} == {"0.96"}
    best = max(row["accuracy"] for run in labels for row in run["bradley_terry"] if row["labels"] == 4096)
    assert "0.96 of pairs" in page
    assert f"at most {np.ceil(100 * best) / 100:.2f}" in page


def test_the_script_calls_commands_that_there_are():
    script = (FOLDER / "reproduce.sh").read_text(encoding="utf-8")
    called = re.findall(r"(?<=[ /])(\w+/\w+\.py)", script)
    assert len(called) == 8
    assert all((EXPERIMENTS / path).is_file() for path in called)
    above = re.search(r'cd "\$\(dirname "\$0"\)/([./]+)"', script).group(1)
    assert (FOLDER / above).resolve() == ROOT
    rewards = re.findall(r'"(EndoRM[^"]*)"', script)
    assert set(rewards) <= load_script("compare_rewards").ROWS.keys() | load_script("compare_rewards").CONTINUED.keys()
