"""The evaluation end to end: killed and resumed, graded again, a series of checkpoints, its figures by hand."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from limits import LIMIT
from table_cells import cells
from tiny_models import PROBLEMS, ROOT
from transformers import AutoTokenizer

from rewards import EndoRM
from rewards.answers import last_boxed
from rewards.endorm import endogenous_rewards, position_weights
from scripts import load_script
from train.evaluation.problems import write_prompt

SCRIPT = ROOT / "scripts" / "eval_math.py"

pytestmark = pytest.mark.slow  # each evaluates with grading processes of its own


@pytest.fixture(scope="module")
def run():
    module = load_script("eval_math")

    def main(*flags):
        module.main([str(f) for f in (*flags, "--device", "cpu", "--workers", 1, "--draws", 200)])
        output = flags[flags.index("--output") + 1]
        return json.loads((output / "results.json").read_text())

    return main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    rows = [{**row, "answer": last_boxed(row["solution"])} for row in PROBLEMS]
    for name, part in (("math500", rows[:6]), ("amc23", rows[6:10])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder


def flags(rehearsal, data, output, *more):
    sampling = ["--samples", 4, "--temperature", 1, "--max_tokens", 12, "--batch_size", 4, "--seed", 3]
    return [
        "--model",
        rehearsal,
        "--data",
        data,
        "--benchmarks",
        "math500",
        "amc23",
        *sampling,
        "--output",
        output,
        *more,
    ]


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


DIES = """
import os, runpy, signal, sys
from train.evaluation.sampling import TransformersSampler
draw, batches = TransformersSampler.__call__, []
def dies(self, *args):
    batches.append(args)
    if len(batches) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(self, *args)
TransformersSampler.__call__ = dies
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""  # the script, killed after its first batch of samples


def test_killed_and_resumed_is_the_same(run, rehearsal, data, tmp_path):
    expected = run(*flags(rehearsal, data, tmp_path / "whole"))
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", DIES, SCRIPT, *flags(rehearsal, data, killed), "--device", "cpu", "--workers", 1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(c) for c in command], env=environment, capture_output=True, timeout=LIMIT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(killed.rglob("*.samples.jsonl")), "it wrote no samples"
    assert not (killed / "results.json").exists()
    found = run(*flags(rehearsal, data, killed))
    assert files(killed) == files(tmp_path / "whole")
    for part in ("results", "per_problem", "counts"):
        assert found[part] == expected[part]


def test_figures_are_those_of_the_samples(run, rehearsal, data, tmp_path):
    cache = tmp_path / "cache"
    endorm = ["--endorm", rehearsal, "--discount", 0.9, "--cache", cache]
    found = run(*flags(rehearsal, data, tmp_path / "o", *endorm))
    (label,) = found["results"]
    assert list(found["results"][label]) == ["amc23", "math500", "average"]  # the paper's order
    folder, figures = tmp_path / "o" / label, found["per_problem"][label]["math500"]
    rows = [json.loads(line) for line in (folder / "math500.samples.jsonl").read_text().splitlines()]
    rows.sort(key=lambda row: (found["problems"]["math500"].index(row["id"]), row["sample"]))
    tokens = np.array([len(row["token_ids"]) for row in rows]).reshape(6, 4)
    np.testing.assert_allclose(figures["tokens"], tokens.mean(axis=1))
    unfinished = np.array([not row["finished"] for row in rows]).reshape(6, 4)
    np.testing.assert_allclose(figures["truncated"], unfinished.mean(axis=1))
    assert np.mean(figures["tokens"]) == pytest.approx(found["results"][label]["math500"]["tokens"]["value"])
    names = ("avg@4", "pass@2", "pass@4", "majority@4", "shortest of 4", "longest of 4", "EndoRM of 4")
    assert all(max(figures[name]) == 0 for name in names)  # a random model knows nothing, and says so with an interval
    assert found["results"][label]["math500"]["avg@4"]["high"] > 0.3

    graded = folder / "math500.grades.jsonl"
    lines = graded.read_text().splitlines()
    tokenizer = AutoTokenizer.from_pretrained(rehearsal)
    # the first sample of problem 0 and the sample EndoRM likes best of problem 1 become right
    reward = EndoRM.from_pretrained(rehearsal, discount=0.9, device="cpu")
    prompt = tokenizer.apply_chat_template(
        write_prompt("qwen-math", PROBLEMS[1]["problem"]), tokenize=False, add_generation_prompt=True
    )
    ids = [tokenizer(prompt)["input_ids"]] * 4
    scores = reward.base.score(ids, [row["token_ids"] for row in rows[4:8]])
    values = [
        float((endogenous_rewards(s, complete=r["finished"]) * position_weights(len(s.q), 0.9, 0.0)).sum())
        for s, r in zip(scores, rows[4:8])
    ]
    for place in (0, 4 + int(np.argmax(values))):
        grade = json.loads(lines[1 + place])
        lines[1 + place] = json.dumps(grade | {"verdict": "right"})
    graded.write_text("\n".join(lines) + "\n")
    again = run(*flags(rehearsal, data, tmp_path / "o", *endorm))["per_problem"][label]["math500"]
    assert again["avg@4"] == [0.25, 0.25, 0, 0, 0, 0]
    np.testing.assert_allclose(again["pass@2"], [0.5, 0.5, 0, 0, 0, 0])
    assert again["pass@4"] == [1, 1, 0, 0, 0, 0]
    assert again["EndoRM of 4"][1] == 1
    # grading once more undoes that, and needs no model
    shutil.rmtree(cache)
    last = run(*flags(rehearsal, data, tmp_path / "o", "--regrade"))["per_problem"][label]["math500"]
    assert last["avg@4"] == [0] * 6


def test_right_answers_count(run, rehearsal, data, tmp_path):
    """Samples replaced by solutions: the same files, other texts, graded without a model."""
    run(*flags(rehearsal, data, tmp_path / "o"))
    (path,) = (tmp_path / "o").rglob("math500.samples.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        n = int(row["id"].rpartition("-")[2])
        row["text"] = PROBLEMS[n if row["sample"] or n else 5]["solution"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run(*flags(rehearsal, data, tmp_path / "o"))
    (label,) = found["results"]
    figures = found["per_problem"][label]["math500"]
    assert figures["avg@4"] == [0.75, 1, 1, 1, 1, 1]
    assert figures["majority@4"] == figures["boxed"] == [1] * 6
    assert label in [row[0] for row in cells((tmp_path / "o" / "results.md").read_text())]


def test_a_series_of_checkpoints(run, rehearsal, data, tmp_path):
    for step in (20, 100):
        shutil.copytree(rehearsal, tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-7").mkdir()
    common = ["--data", data, "--benchmarks", "math500", "--max_tokens", 4, "--output", tmp_path / "o"]
    found = run("--model", rehearsal, "--checkpoints", str(tmp_path / "checkpoint-*"), *common)
    base, *others = found["results"]
    assert others == ["checkpoint-20", "checkpoint-100"]
    assert found["steps"] == {base: 0, "checkpoint-20": 20, "checkpoint-100": 100}
    assert found["per_problem"][base] == found["per_problem"]["checkpoint-20"]  # the same weights, greedy
    assert (tmp_path / "o" / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert cells((tmp_path / "o" / "results.md").read_text())[0] == ["model", "MATH-500"]
    assert found["commit"]
    assert found["versions"]["transformers"]


def test_a_model_is_called_by_what_says_whose_it_is(tmp_path):
    module, place = load_script("eval_math"), tmp_path / "run" / "model"
    place.mkdir(parents=True)
    for flags, label in (([], "run_model"), (["--name", "mine"], "mine")):
        args = module.arguments(["--model", str(place), *flags])
        assert module.models_of(args) == ({label: str(place)}, {})


def test_input_that_cannot_work(run, rehearsal, data, tmp_path, capsys):
    with pytest.raises(SystemExit, match="put it in quotes"):
        run("--checkpoints", str(tmp_path / "nothing-*"), "--data", data, "--output", tmp_path)
    with pytest.raises(SystemExit):
        run("--data", data, "--output", tmp_path)
    assert "--checkpoints or both" in capsys.readouterr().err
    run(*flags(rehearsal, data, tmp_path / "o"))
    changed = flags(rehearsal, data, tmp_path / "o")
    changed[changed.index("--seed") + 1] = 4
    with pytest.raises(ValueError, match="seed 3 -> 4"):
        run(*changed)


def test_variables_of_the_chat_template_reach_samples_and_endorm(rehearsal, data, run, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(rehearsal, model)
    template = model / "chat_template.jinja"
    thinks = "{% if add_generation_prompt and not enable_thinking | default(true) %}1 + 1{% endif %}"
    template.write_text(template.read_text() + thinks)
    given = ["--chat_template_kwargs", '{"enable_thinking": false}', "--endorm", model, "--cache", tmp_path / "cache"]
    facts = run(*flags(model, data, tmp_path / "out", *given))
    assert facts["settings"]["chat_template_kwargs"] == {"enable_thinking": False}
    (saved,) = (tmp_path / "out").glob("*/math500.samples.settings.json")
    settings = json.loads(saved.read_text())
    assert settings["chat_template_kwargs"] == {"enable_thinking": False}
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in (data / "math500.jsonl").read_text().splitlines()]
    ids = {
        f"math500-{i}": tokenizer.apply_chat_template(
            write_prompt("qwen-math", row["problem"]), add_generation_prompt=True, enable_thinking=False
        )["input_ids"]
        for i, row in enumerate(rows)
    }
    asked = json.dumps([list(ids), list(ids.values())])
    assert settings["prompts"] == hashlib.sha256(asked.encode()).hexdigest()
    with pytest.raises(ValueError, match="chat_template_kwargs {'enable_thinking': False} -> None"):
        run(*flags(model, data, tmp_path / "out"))
    with pytest.raises(SystemExit):
        run(*flags(model, data, tmp_path / "out", "--chat_template_kwargs", "no"))
    assert "chat_template_kwargs is not JSON" in capsys.readouterr().err
