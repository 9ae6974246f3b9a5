"""The demo's scripts end to end on a model of a few training steps, and the parts that decide what is reported."""

import json
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts import load_script
from train.tasks.arithmetic import build_tokenizer, prompt_index, solve
from train.tasks.arithmetic_evaluation import complete, read_prompts
from train.tasks.arithmetic_model import demonstrations, imitate_expert

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


def test_training_lowers_the_loss_of_the_response():
    tokenizer = build_tokenizer()
    nothing, losses = np.array([], dtype=int), []
    for steps in (1, 40):
        model = imitate_expert(tokenizer, nothing, steps=steps, hidden=32, layers=1, batch_size=64, error=0.0)
        ids, labels = demonstrations(256, np.random.default_rng(5), nothing, tokenizer, error=0.0)
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=labels).loss.item())
    assert losses[1] < losses[0] - 0.3


def test_demonstrations_are_solved_prompts_with_loss_on_response_and_end_only():
    tokenizer, rng = build_tokenizer(), np.random.default_rng(0)
    heldout = np.arange(0, 8_000_000)
    ids, labels = demonstrations(200, rng, heldout, tokenizer, error=0.0)
    assert ids.shape == labels.shape == (200, 15)
    assert (labels[:, :10] == -100).all()
    assert torch.equal(labels[:, 10:], ids[:, 10:])
    assert (ids[:, -1] == tokenizer.eos_token_id).all()
    for row in ids:
        text = tokenizer.decode(row, skip_special_tokens=True)
        assert text[10:] == solve(text[:10])
        assert prompt_index(text[:10]) >= 8_000_000


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


class ScriptedModel:
    """Stands in for a model: ``generate`` appends the given rows of token ids."""

    device = torch.device("cpu")

    def __init__(self, rows):
        self.rows = torch.tensor(rows)

    def generate(self, input_ids, **kwargs):
        self.kwargs = kwargs
        return torch.cat([input_ids, self.rows], dim=1)


def test_lengths_count_the_end_token_and_sampling_is_not_cut():
    tokenizer = build_tokenizer()
    digit = tokenizer.convert_tokens_to_ids("3")
    model = ScriptedModel([[digit, digit, 1, 0], [1, 0, 0, 0], [digit] * 4])
    texts, lengths = complete(model, tokenizer, ["7+5-3+8*2="] * 3, temperature=0.3)
    assert texts == ["33", "", "3333"]
    assert lengths == [3, 1, 4]
    assert (model.kwargs["temperature"], model.kwargs["top_k"], model.kwargs["top_p"]) == (0.3, 0, 1.0)
    complete(model, tokenizer, ["7+5-3+8*2="] * 3, temperature=0.0)
    assert model.kwargs["do_sample"] is False


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


def test_figure_marks_missing_series_and_prefers_the_exact_kl_name(tmp_path, monkeypatch):
    drawn = []

    class Recorder(evaluate.Figure):
        def savefig(self, *args, **kwargs):
            drawn.extend(self.axes)

    monkeypatch.setattr(evaluate, "Figure", Recorder)
    rows = {("base", "sampled"): row(0.53, 0.51, 0.55), ("base", "greedy"): row(1.0, 0.99, 1.0)}
    history = [{"step": 5, "reward": 0.1, "kl/k1": 0.2, "kl": 9.0, "rewards/demo_accuracy/mean": 0.5}]
    evaluate.draw_training(history, rows, tmp_path / "x.png")
    reward, accuracy, kl, length = drawn
    assert reward.lines[0].get_xydata().tolist() == [[5, 0.1]]
    assert [line.get_ydata()[0] for line in accuracy.lines] == [0.5, 0.53, 1.0]
    assert kl.lines[0].get_ydata().tolist() == [0.2]
    assert [text.get_text() for text in length.texts] == ["not logged"]


def test_reading_prompts_takes_the_first_n_and_refuses_none(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in "abc"))
    assert read_prompts(path, 2) == ["a", "b"]
    assert read_prompts(path, 9) == ["a", "b", "c"]
    with pytest.raises(SystemExit, match="no prompts"):
        read_prompts(path, 0)
