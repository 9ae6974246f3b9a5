"""The runs after a first round: what each starts from and learns from, and the table of their files."""

import argparse
import json

import pytest

from scripts import load_script
from train.tasks.chat_evaluation import accuracy

experiment = load_script("rounds")


def run(name, sampled, polite=0.0):
    cells = [{"decoding": "sampled", "mean_tokens": 9.0, "ended": 1.0} | accuracy(sampled)]
    cells.append({"decoding": "greedy"} | accuracy([0.5] * len(sampled)))
    return {"name": name, "task": "capitals", "seed": 0, "heldout": cells, "polite": polite}


@pytest.mark.parametrize(
    "name, start, frozen, system",
    [
        ("first round", "base", None, None),
        ("second round", "first", None, None),
        ("as long again", "first", "base", None),
        ("improved teacher", "base", "first", None),
        ("criterion: brief", "base", None, experiment.BRIEF),
    ],
)
def test_each_run_starts_and_learns_where_its_name_says(name, start, frozen, system, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(experiment, "make_run", lambda *args, **more: calls.append((args, more)))
    args = argparse.Namespace(model=tmp_path / "base", output=tmp_path, task="capitals", rollouts=16, dtype="bfloat16")
    experiment.made(name, 3, args)
    ((made, task, seed, rollouts, model, *_), more) = calls[0]
    places = {"base": tmp_path / "base", "first": tmp_path / "capitals_first_round_seed3/policy"}
    assert (task, seed, rollouts, model) == ("capitals", 3, 16, places[start])
    assert made.fields.get("frozen_base") == (None if frozen is None else str(places[frozen]))
    assert made.rewards[0].get("system_prompt") == system
    assert more["keep"] == (name == "first round")


def test_politeness_is_the_share_of_samples_with_a_word_of_courtesy(tmp_path):
    texts = ["Thank you for asking!", "Lima.", "I am glad to help.", "The gladiators"]
    (tmp_path / "sampled.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert experiment.polite(tmp_path) == 0.5
    assert experiment.with_style({"polite": 0.25}, tmp_path)["polite"] == 0.25
    assert experiment.with_style({}, tmp_path)["polite"] == 0.5


def test_differences_are_from_where_a_run_started():
    files = [run("base", [0.2] * 4), run("first round", [0.7] * 4), run("second round", [0.8] * 4, polite=0.5)]
    files.append(run("improved teacher", [0.6] * 4))
    lines = experiment.table(files).splitlines()[2:]
    assert len(lines) == 4
    assert all(text in lines[2] for text in ("second round", "first round", "+0.100 (", "gain", "0.50"))
    assert all(text in lines[3] for text in ("improved teacher", " base ", "+0.400 ("))
    assert "second round" not in experiment.table([files[0], files[2]])  # what it started from is not there
