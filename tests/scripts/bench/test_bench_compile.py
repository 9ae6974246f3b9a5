"""Compiled and plain scoring are the same scores, and a static cache draws the same responses."""

import json

import pytest
import torch

from scripts import load_script


@pytest.mark.slow
def test_both_sides_do_the_same_work(monkeypatch, tmp_path, capsys):
    # what the compiler makes of it is its own matter, and takes a minute
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: None)
    script = load_script("bench_compile")
    size = "--preset tiny --vocab_size 64 --batch 2 --prompt_tokens 4 --response_tokens 5 --repeats 2"
    script.main([*size.split(), "--output", str(tmp_path / "out.json")])
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["largest_deviation_nats"] < 1e-4
    assert result["same_responses"]
    assert set(result["summary"]) == {"scoring", "scoring, compiled", "drawing", "drawing, static cache"}
    assert "first call" in capsys.readouterr().out
