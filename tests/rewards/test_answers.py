"""Final answers: where they are found in a response, and which are equal."""

import pytest

from rewards.answers import cluster_answers, equivalent, extract_answer


@pytest.mark.parametrize(
    "text, answer",
    [
        (r"\boxed{1} so \boxed{x=2}", "x=2"),
        (r"$\frac{1}{2}$ is the result", r"\frac{1}{2}"),
        ("first 3, then 4", "4"),
        ("the answer is 4, as 1 + 3", "4"),
        (r"\boxed{1} so \boxed{2", None),
        (r"5 \boxed{ }", None),
        ("no number", None),
        ("", None),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == extract_answer([{"role": "assistant", "content": text}]) == answer


def test_equivalence_does_not_depend_on_the_order():
    assert equivalent("1<x<2", "(1,2)")
    assert equivalent("(1,2)", "1<x<2")
    assert equivalent("?!", "?!")  # equal as text, though no formula
    assert not equivalent("?!", "1")


def test_each_text_is_parsed_once_and_equal_texts_are_not_compared(monkeypatch):
    import rewards.answers as module

    parsed, compared = [], []
    real_parse, real_verify = module.parse, module.verify
    monkeypatch.setattr(module, "parse", lambda text, **kw: parsed.append(text) or real_parse(text, **kw))
    monkeypatch.setattr(module, "verify", lambda a, b, **kw: compared.append((a, b)) or real_verify(a, b, **kw))
    assert cluster_answers(["301", "302", "301", "301.0", "302", None, "301"]) == [0, 1, 0, 0, 1, None, 0]
    assert sorted(parsed) == [r"\boxed{301.0}", r"\boxed{301}", r"\boxed{302}"]
    assert len(compared) == 2 + 1  # 301 and 302 in both orders; 301 and 301.0


@pytest.mark.slow
def test_what_takes_too_long_counts_as_different(monkeypatch):
    monkeypatch.setattr("rewards.answers._SECONDS", 1)
    assert not equivalent("9^{9^{9}}", "5")
    assert cluster_answers(["9^{9^{9}}", "5", "9^{9^{9}}"]) == [0, 1, 0]
