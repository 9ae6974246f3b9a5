"""RLPR against probabilities read from full float64 logits."""

import pytest
from full_logits import answer_probabilities
from references import COMPLETIONS, PROMPTS, SOLUTIONS
from tiny_models import judge_model, tiny_model, tiny_tokenizer, word_tokenizer

from rewards import FrozenBase, get_reward


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_values_are_those_of_full_logits(batch_tokens):
    model, tokenizer = judge_model(seed=4), word_tokenizer()
    base, columns = FrozenBase(model, batch_tokens=batch_tokens), {"solution": SOLUTIONS}
    first = answer_probabilities(model, tokenizer, r"1+1=so \boxed{7} and \boxed{", "12")
    third = answer_probabilities(model, tokenizer, r"1+1=\fbox {", "12")
    bare = answer_probabilities(model, tokenizer, r"1+1=\boxed{", "12")
    mean = get_reward("rlpr")(base, tokenizer, debias=False)(PROMPTS, COMPLETIONS, **columns)
    assert mean == pytest.approx([first.mean().item(), 0.0, third.mean().item()], rel=1e-3)
    forwards = base.forwards
    gain = get_reward("rlpr")(base, tokenizer)(PROMPTS, COMPLETIONS, **columns)
    expected = [max((x.mean() - bare.mean()).item(), 0) for x in (first, third)]
    assert gain == pytest.approx([expected[0], 0.0, expected[1]], abs=1e-6)
    assert max(expected) > 0
    if batch_tokens > 1:
        assert base.forwards == forwards + 2  # with and without reasoning


def test_an_answer_given_by_a_pattern_has_no_cue():
    model, tokenizer = tiny_model(initializer_range=0.2), tiny_tokenizer()
    rlpr = get_reward("rlpr")(FrozenBase(model), tokenizer, answer=r"=(\d)$", column="answer")
    with_z = answer_probabilities(model, tokenizer, "1+1=a=1=", "8").item()
    bare = answer_probabilities(model, tokenizer, "1+1=", "8").item()
    value = rlpr(["1+1="], ["a=1=2"], answer=["8"])[0]
    assert value == pytest.approx(max(with_z - bare, 0), abs=1e-6)
