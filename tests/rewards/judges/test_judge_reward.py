"""Rewards by generative judges with a judge of a model's or endpoint's name."""

import pytest

from rewards import PairwiseJudge, PointwiseJudge, Rubric


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_from_pretrained_with_an_endpoint():
    judge = Rubric.from_pretrained(
        "a/b", endpoint="http://host:1/v1", concurrency=3, criteria=["x"], among_answers=True
    )
    assert (judge.judge.model, judge.judge.url, judge.judge.concurrency) == ("a/b", "http://host:1/v1", 3)
    assert judge.among_answers
    assert judge.base is judge.tokenizer is judge.max_positions is None
    with pytest.raises(ValueError, match="concurrency, timeout_s: only for a judge behind an endpoint"):
        PairwiseJudge.from_pretrained("a/b", timeout_s=1.0, concurrency=3)
    with pytest.raises(ValueError, match="are the server's business"):
        PointwiseJudge.from_pretrained("a/b", endpoint="http://host:1/v1", dtype="bfloat16")
