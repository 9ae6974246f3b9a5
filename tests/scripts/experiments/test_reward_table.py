"""The table of rewards: intervals, verdicts, and what is measured of a policy."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from reward_table import markdown, measure, summarise, verdict
from tiny_models import ROOT

from rewards import FrozenBase
from train.tasks.arithmetic import build_tokenizer, prompt_text
from train.tasks.arithmetic_evaluation import complete
from train.tasks.arithmetic_model import build_model

BASE = {"sampled": 0.55, "greedy": 1.0, "tokens": 5.0, "entropy": 0.5, "kl": 0.0, "cut_off": 0.0}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"sampled": 0.9, "greedy": 0.98}, "gain"),
        ({"sampled": 0.55}, "nothing shown"),
        ({"sampled": 0.5}, "loss"),
        ({"sampled": 0.2, "greedy": 0.2, "tokens": 2.0, "entropy": 0.01}, "collapse: short answers, certain of"),
        ({"sampled": 0.7, "greedy": 0.7, "tokens": 16.0, "cut_off": 0.9}, "collapse: runs into the length limit"),
        ({"sampled": 0.1, "greedy": 0.1, "tokens": 8.0, "entropy": 1.5}, "collapse: long answers, noise"),
        ({"sampled": 0.1}, "collapse: drifts away"),
    ],
)
def test_verdicts(change, words):
    noise = (-0.01, 0.0, 0.01)
    bases = [BASE | {"sampled": BASE["sampled"] + x} for x in noise]
    rows = [BASE | change | {"sampled": (BASE | change)["sampled"] + 1.1 * x} for x in noise]
    assert verdict(rows, bases).startswith(words)
    (row,) = summarise({"x": rows}, bases)
    assert row["sampled"][0] == pytest.approx((BASE | change)["sampled"])
    text = markdown([row], [0.9, 0.9, 0.9])
    assert words in text
    assert "| base, temperature 0.3 | 0.900 (0.900 to 0.900) |" in text


def test_what_is_measured():
    tokenizer, prompts = build_tokenizer(), [prompt_text(i) for i in range(40)]
    torch.manual_seed(0)
    policy, other = (build_model(tokenizer, hidden=16, layers=1).eval() for _ in range(2))
    row = measure("x", policy, FrozenBase(other), tokenizer, prompts, 3)
    assert measure("x", policy, FrozenBase(policy), tokenizer, prompts, 3)["kl"] == pytest.approx(0.0, abs=1e-5)
    torch.manual_seed(3)
    texts, lengths = complete(policy, tokenizer, prompts, 1.0, max_new_tokens=16)
    assert row["tokens"] == pytest.approx(np.mean(lengths))
    assert row["cut_off"] == pytest.approx(np.mean(np.array(lengths) == 16))
    entropies, kl = [], []
    for prompt, text, length in zip(prompts, texts, lengths):
        context, response = tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"] + [1] * (length < 16)
        if not response:
            continue
        with torch.no_grad():
            own, base = (m(torch.tensor([context + response])).logits[0].log_softmax(-1) for m in (policy, other))
        here = slice(len(context) - 1, -1)
        entropies += (-(own.exp() * own).sum(-1))[here].tolist()
        taken = torch.tensor(response)[:, None]
        kl.append((own[here].gather(1, taken) - base[here].gather(1, taken)).sum().item())
    assert row["entropy"] == pytest.approx(np.mean(entropies), abs=1e-4)
    assert row["kl"] == pytest.approx(np.mean(kl), abs=1e-3)


@pytest.mark.slow
def test_the_command_and_that_it_goes_on(copies, tmp_path):
    names = ["EndoRM dense + 10 % labels"]
    command = [
        sys.executable,
        "scripts/experiments/reward_table/compare_rewards.py",
        "--output",
        str(tmp_path),
        "--seeds",
        "0",
        "--steps",
        "4",
    ]
    command += ["--base_steps", "2", "--n", "20", "--rewards", *names]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    first = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in first["rows"]] == ["base", *names]
    assert (tmp_path / "compare_rewards.png").stat().st_size > 10_000
    policies = [tmp_path / "seed0" / run.name / "model.safetensors" for run in (tmp_path / "seed0").glob("*_*")]
    assert len(policies) == 1
    made = [path.stat().st_mtime_ns for path in policies]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert [path.stat().st_mtime_ns for path in policies] == made  # nothing was trained again
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == first["rows"]
