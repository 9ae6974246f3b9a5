"""The limit of a step is made of the products of its phases."""

import json

import pytest
import torch
from step_limits import StepLimits, median_limits
from tiny_models import tiny_model, tiny_tokenizer


def test_the_parts_of_a_step(tmp_path, monkeypatch):
    tiny_model().save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": "a" * n}) + "\n" for n in (4, 6)))
    limits = StepLimits(tmp_path / "m", data, batch=8, micro_batch=4, epochs=2, dtype=torch.float32)
    assert limits.prompt == 5
    asked = []
    bare = limits.products
    monkeypatch.setattr(bare, "forward", lambda rows, width, context=0: asked.append((rows, width, context)) or 1.0)
    monkeypatch.setattr(bare, "head_product", lambda states, dtype=None: asked.append((states, dtype)) or 0.1)
    monkeypatch.setattr(limits, "_seconds", lambda run: run)
    found = limits.measure(tokens=8.2, longest=6)
    assert asked == [
        (4, 8, 0),
        (8 * 3, torch.float32),
        (8 * 4, None),  # the state after the last token too, in fp32
        (8, 5, 0),
        (8, 1, 5 + 3),
        (8, torch.float32),
    ]
    assert found == pytest.approx(
        {"generation": 1 + 6 * 1.1, "frozen base, reference": 2.1, "policy log-probs": 2.1, "update": 2 * 3 * 2.1}
    )


def test_seconds_are_measured_and_medians_are_taken(tmp_path):
    tiny_model().save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "abc"}) + "\n")
    found = StepLimits(tmp_path / "m", tmp_path / "p.jsonl", 2, 2, 1, torch.float32).measure(6, 3)
    assert all(seconds > 0 for seconds in found.values())
    rounds = [{"update": x, "generation": y} for x, y in ((1.0, 5.0), (2.0, 1.0), (9.0, 3.0))]
    assert median_limits(rounds) == {"update": 2.0, "generation": 3.0, "whole": 5.0}
