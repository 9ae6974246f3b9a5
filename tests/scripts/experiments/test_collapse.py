"""What the demo of the watches says of a collapse, and that the committed run shows what the README says."""

import json

import pytest
from tiny_models import ROOT

from scripts import load_script


@pytest.fixture
def script():
    return load_script("provoke_collapse")


def test_what_was_lost_when_the_first_watch_tripped(script):
    watched = {
        "accuracy": [(4, 0.5), (8, 0.9), (12, 0.85), (16, 0.82), (20, 0.2)],
        "tripped": [{"step": 16, "watch": "held_out"}, {"step": 20, "watch": "length"}],
    }
    stopped = {"accuracy": watched["accuracy"][:4]}
    row = script.summary("short answers", watched, stopped, kept=0.89)
    assert row["lost_when_flagged"] == pytest.approx(0.08)
    assert (row["best"], row["best_step"], row["last"], row["stopped_at"]) == (0.9, 8, 0.2, 16)
    assert row["flagged"]["watch"] == "held_out"
    silent = script.summary("short answers", watched | {"tripped": []}, stopped, kept=0.89)
    assert (silent["flagged"], silent["lost_when_flagged"]) == (None, None)


def test_the_committed_collapses_are_flagged_in_time_and_the_best_is_kept(script):
    rows = json.loads((ROOT / "scripts/experiments/collapse/results/results.json").read_text())["rows"]
    assert {row["name"] for row in rows} == set(script.COLLAPSES)
    for row in rows:
        assert row["last"] < row["best"] - 0.3  # it was a collapse
        assert row["lost_when_flagged"] < 0.10
        assert row["kept"] > row["best_until_stopped"] - 0.02
