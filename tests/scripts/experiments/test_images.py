"""The run script of images without its trainings, its measures by hand, and what the saved results show."""

import json
import re

import numpy as np
import pytest
from tiny_models import ROOT

from scripts import load_script

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install -e '.[images]'")
RESULTS = ROOT / "scripts/experiments/images/results/results.json"


def test_measures_by_hand():
    script = load_script("improve_images")
    clean = np.repeat(np.arange(10), 2)[:, None] * np.ones((1, 64), int)
    of = np.repeat(np.arange(10), 2)
    drawn = clean.copy()
    drawn[0] = 2  # a zero that is two levels off, and two from the other zero

    class Judge:
        def predict(self, images):
            return images[:, 0]

    found = script.measures(drawn, of, Judge(), clean, of)
    assert found["accuracy"] == pytest.approx(19 / 20)
    assert found["distance"] == pytest.approx(2 / 20)
    assert found["diversity"] == pytest.approx(2 / 10)


@pytest.mark.slow
def test_the_run_script(no_training, tmp_path, capsys):
    script = load_script("improve_images")
    runs = no_training(script)
    script.main(["--output", str(tmp_path), "--seeds", "1", "--base_steps", "2", "--n", "40"])
    assert [json.loads(run["--rewards"])[0]["name"] for run in runs] == ["endorm", "endorm", "random"]
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    found = {row["name"]: row for row in rows}
    assert found["base"]["accuracy"] == found["PPO with EndoRM"]["accuracy"]  # nothing was trained
    assert found["clean images"]["accuracy"] > 0.9
    assert found["clean images"]["distance"] < found["noisy images"]["distance"]
    assert (tmp_path / "images.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "results.md").read_text() in capsys.readouterr().out


def test_committed_results_are_of_three_seeds_with_the_default_settings():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert re.fullmatch(r"python \S+improve_images\.py( --output \S+)?", results["command"])
    assert re.fullmatch(r"[0-9a-f]{40}", results["commit"])
    assert {row["seed"] for row in results["rows"]} == {0, 1, 2}
