"""The demo's scripts end to end on a model of a few training steps, and the parts that decide what is reported."""

import json
import re

import pytest
import torch
from matplotlib.figure import Figure
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts import load_script

make_base, evaluate = load_script("make_base"), load_script("evaluate_arithmetic")
LOG_HISTORY = [
    {"step": 1, "reward": 0.1, "rewards/demo_accuracy/mean": 0.5, "kl/k1": 0.0, "completions/mean_length": 5.0},
    {"step": 2, "reward": 0.2, "rewards/demo_accuracy/mean": 0.6, "kl/k1": 0.1, "completions/mean_length": 5.0},
    {"step": 2, "train_runtime": 1.0},
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with ``base`` (three training steps of a tiny model), ``data`` and a ``policy`` with a training log."""
    root = tmp_path_factory.mktemp("demo")
    sizes = ["--hidden", "16", "--layers", "1", "--batch_size", "8", "--n_train", "30", "--n_heldout", "20"]
    for name in ("base", "policy"):
        make_base.main(["--output", str(root / name), "--steps", "3", *sizes])
    (root / "policy" / "trainer_state.json").write_text(json.dumps({"log_history": LOG_HISTORY}))
    return root


def arguments(demo, output):
    folders = {"base": demo / "base", "policy": demo / "policy", "data": demo / "data/heldout.jsonl", "output": output}
    return [part for key, value in folders.items() for part in (f"--{key}", str(value))]


def test_base_reloads_with_the_right_special_tokens_and_the_same_weights_for_a_seed(demo):
    model = AutoModelForCausalLM.from_pretrained(demo / "base")
    tokenizer = AutoTokenizer.from_pretrained(demo / "base")
    assert len(tokenizer) == model.get_input_embeddings().num_embeddings == 16
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (1, 0)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 0)
    assert (demo / "base" / "model.safetensors").is_file()
    twin = AutoModelForCausalLM.from_pretrained(demo / "policy")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert [len((demo / "data" / f"{s}.jsonl").read_text().splitlines()) for s in ("train", "heldout")] == [30, 20]


def test_evaluation_end_to_end(demo, tmp_path, capsys):
    evaluate.main([*arguments(demo, tmp_path), "--n", "15", "--seconds_so_far", "100"])
    results = json.loads((tmp_path / "results.json").read_text())
    rows = [(r["name"], r["decoding"], r["temperature"]) for r in results["policies"]]
    base = [("base", "sampled", 1.0), ("base", "greedy", 0.0), ("base", "low_temperature", 0.3)]
    assert rows == [*base, ("ppo_endorm", "sampled", 1.0), ("ppo_endorm", "greedy", 0.0)]
    for row in results["policies"]:
        low, high = row["ci95"]
        assert row["n"] == 15
        assert 0 <= low <= row["accuracy"] <= high <= 1
        assert 1 <= row["mean_tokens"] <= 16
    assert results["policies"][0]["accuracy"] == results["policies"][3]["accuracy"]  # equal weights, equal seed
    assert 100 < results["seconds"] < 200
    assert results["seed"] == 0
    assert {"python", "torch", "transformers", "trl", "numpy"} <= results["versions"].keys()
    assert results["command"].split()[1] == "scripts/experiments/arithmetic/evaluate_arithmetic.py"
    commit = results["commit"]  # an edited checkout says so
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit)
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    report = (tmp_path / "results.md").read_text()
    assert report.count("| base") == 3
    assert report.count("| ppo_endorm") == 2
    assert "no gain" in report
    assert report in capsys.readouterr().out


@pytest.mark.parametrize(
    "missing, remedy",
    [("base/config.json", "make_base"), ("data/heldout.jsonl", "make_base")]
    + [("policy/config.json", "train the policy"), ("policy/trainer_state.json", "save_state")],
)
def test_missing_input_is_named_with_its_remedy(demo, tmp_path, missing, remedy):
    for name in ("base/config.json", "data/heldout.jsonl", "policy/config.json", "policy/trainer_state.json"):
        if name != missing:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("{}")
    with pytest.raises(SystemExit, match=f"{missing} not found: .*{remedy}"):
        evaluate.main(arguments(tmp_path, tmp_path / "out"))


def row(accuracy, low, high):
    return {"accuracy": accuracy, "ci95": [low, high]}


@pytest.mark.parametrize(
    "after, words",
    [
        (row(0.96, 0.95, 0.97), "sharpening of what the base knows, not new knowledge"),
        (row(0.54, 0.52, 0.56), "no gain"),
        (row(0.40, 0.38, 0.42), "no gain"),
        (row(0.995, 0.991, 0.998), "more than sharpening"),
    ],
)
def test_finding_follows_the_intervals(after, words):
    rows = {("base", "sampled"): row(0.53, 0.51, 0.55), ("base", "greedy"): row(0.98, 0.97, 0.99)}
    rows |= {("base", "low_temperature"): row(0.97, 0.96, 0.98), ("ppo", "sampled"): after}
    sentence = evaluate.finding(rows, "ppo")
    assert words in sentence
    assert "0.530" in sentence


def test_the_figure_shows_the_bases_accuracies_beside_the_policys(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: drawn.append(self))
    rows = {("base", "sampled"): row(0.53, 0.51, 0.55), ("base", "greedy"): row(1.0, 0.99, 1.0)}
    history = [{"step": 5, "reward": 0.1, "rewards/demo_accuracy/mean": 0.5, "rewards/endorm/mean": 0.1}]
    evaluate.draw_training(history, tmp_path / "x.png", evaluate.base_levels(rows))
    panels = {axis.get_title(): axis for axis in drawn[0].axes if axis.axison}
    assert list(panels) == ["reward endorm, which is the weighted sum", "reward demo_accuracy"]
    assert panels["reward endorm, which is the weighted sum"].lines[0].get_xydata().tolist() == [[5, 0.1]]
    accuracy = panels["reward demo_accuracy"]
    assert [line.get_ydata()[0] for line in accuracy.lines] == [0.5, 0.53, 1.0]
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == [
        "in training",
        "base, sampled (0.530)",
        "base, greedy (1.000)",
    ]
