"""Two styles of the arithmetic task, the run script without its trainings, and what the saved results show."""

import json
import re

import numpy as np
import pytest
import torch
from styles import CRITERIA, imitate_styles, style_of, styled_demonstrations
from tiny_models import ROOT

from rewards.frozen.encoding import encode_prompt
from scripts import load_script
from train.tasks.arithmetic import build_tokenizer, is_correct, prompt_index, split_indices

RESULTS = ROOT / "scripts/experiments/steering/results/results.json"


def test_styles():
    assert [style_of(r) for r in ("2974", "=2=9=7=4")] == ["terse", "verbose"]
    assert {style_of(r) for r in ("", "297", "29745", "=2974", "2=9=7=4", "=2=9=7", "2974=", "x974")} == {None}


@pytest.mark.slow
def test_demonstrations_are_right_in_both_styles_and_read_the_criterion_half_of_the_time():
    tokenizer, (_, heldout) = build_tokenizer(), split_indices(10, 20_000, seed=0)
    ids, labels = styled_demonstrations(400, np.random.default_rng(0), np.sort(heldout), tokenizer, error=0.0)
    assert ids.shape == labels.shape == (400, 21)
    seen = []
    for row, label in zip(ids, labels):
        response = label[label != -100]
        assert response[-1] == tokenizer.eos_token_id
        start = int((label != -100).nonzero()[0])
        assert torch.equal(row[start : start + len(response)], response)
        prompt, response = tokenizer.decode(row[:start]), tokenizer.decode(response[:-1])
        criterion, problem = prompt[:-10], prompt[-10:]
        assert is_correct(problem, response.replace("=", ""))
        assert prompt_index(problem) not in set(heldout)
        assert criterion in ("", CRITERIA[style_of(response)])
        seen.append((style_of(response), bool(criterion)))
    assert {key: seen.count(key) for key in seen} == dict.fromkeys(
        [(style, read) for style in CRITERIA for read in (True, False)], 100
    )


def test_the_criterion_survives_its_way_through_the_reward():
    tokenizer = build_tokenizer()
    assert tokenizer.decode(encode_prompt(tokenizer, "7+5-3+8*2=", CRITERIA["terse"])) == "4=7+5-3+8*2="


@pytest.mark.slow
def test_training_lowers_the_loss():
    tokenizer, nothing = build_tokenizer(), np.array([], dtype=int)
    losses = []
    for steps in (1, 60):
        model = imitate_styles(tokenizer, nothing, steps=steps, hidden=32, layers=1, batch_size=64)
        ids, labels = styled_demonstrations(256, np.random.default_rng(5), nothing, tokenizer, error=0.0)
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=labels).loss.item())
    assert losses[1] < losses[0] - 0.3


@pytest.mark.slow
def test_steer_demo(no_training, tmp_path, capsys):
    script = load_script("steer")
    runs = no_training(script)
    script.main(["--output", str(tmp_path), "--seeds", "3", "--base_steps", "2", "--hidden", "16", "--n", "20"])
    assert [json.loads(run["--rewards"])[0]["system_prompt"] for run in runs] == ["4=", "8="]
    results = json.loads((tmp_path / "results.json").read_text())
    names = [row["policy"] for row in results["policies"]]
    before = ["base, no criterion", "base that reads terse", "base that reads verbose"]
    assert names == [*before, "PPO under terse", "PPO under verbose"]
    first, *_, last = results["policies"]
    assert [first[k] for k in ("terse", "verbose", "accuracy")] == [last[k] for k in ("terse", "verbose", "accuracy")]
    assert (tmp_path / "styles.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "results.md").read_text() in capsys.readouterr().out


def test_committed_steering_moves_to_the_style_of_the_criterion():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert set(results["command"][1::2]) <= {"--output"}  # with the default settings
    assert re.fullmatch(r"[0-9a-f]{40}", results["commit"])
    rows = {(r["seed"], r["policy"]): r for r in results["policies"]}
    assert len({seed for seed, _ in rows}) == 3
    for (seed, policy), row in rows.items():
        assert row["n"] == 2000
        if policy.startswith("PPO under "):
            style = policy.removeprefix("PPO under ")
            assert row[style]["ci95"][0] > rows[seed, "base, no criterion"][style]["ci95"][1]
