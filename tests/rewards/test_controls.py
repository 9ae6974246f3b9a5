"""Controls on hand-made cases."""

from types import SimpleNamespace

import pytest

from rewards.controls import Constant, FormatOnly, Length, Random

TEXTS = [f"text {i}" for i in range(200)]


IDS = [[i, 5, 7] for i in range(200)]


def draws(reward, step=0, texts=TEXTS, ids=IDS):
    state = SimpleNamespace(global_step=step)
    return reward(prompts=["p"] * len(texts), completions=texts, completion_ids=ids, trainer_state=state)


def test_random_repeats_and_depends_on_nothing_but_step_seed_and_completion():
    rewards = draws(Random())
    assert draws(Random()) == rewards
    assert set(rewards) == {0.0, 1.0}
    assert 70 < sum(rewards) < 130  # six standard deviations
    assert draws(Random(), step=1) != rewards != draws(Random(seed=1))
    assert draws(Random(), texts=TEXTS[:50], ids=IDS[:50]) == rewards[:50]  # batch split
    assert draws(Random(), texts=TEXTS[::-1], ids=IDS[::-1]) == rewards[::-1]
    assert draws(Random(), ids=None) == draws(Random(), ids=None)  # outside a trainer


def test_random_tells_equal_completions_apart():
    rewards = draws(Random(), texts=["same"] * 200, ids=[[5]] * 200)
    assert 70 < sum(rewards) < 130


def test_probability_of_random():
    assert draws(Random(probability=0.0)) == [0.0] * 200
    assert draws(Random(probability=1.0)) == [1.0] * 200
    assert 10 < sum(draws(Random(probability=0.2))) < 75
    with pytest.raises(ValueError, match="probability must lie"):
        Random(probability=1.5)


def test_constant_and_length():
    ids = [[1, 2], [], [3] * 9]
    assert Constant(0.5)(prompts=["p"] * 3, completions=["", "a", "b"], completion_ids=ids) == [0.5] * 3
    assert Length()(prompts=["p"] * 3, completions=["", "a", "b"], completion_ids=ids) == [2, 0, 9]
    assert Length(scale=-0.1)(completions=["", "a", "b"], completion_ids=ids) == pytest.approx([-0.2, 0, -0.9])


def test_format_only():
    texts = [r"\boxed{wrong}", r"\boxed{5", "2974", [{"role": "assistant", "content": "0000"}], ""]
    assert FormatOnly()(completions=texts) == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert FormatOnly(pattern=r"^\d{4}$")(completions=texts) == [0.0, 0.0, 1.0, 1.0, 0.0]


def test_length_without_token_ids():
    with pytest.raises(ValueError, match="length counts tokens: give completion_ids"):
        Length()(prompts=["p"], completions=["a"], solution=["1"])
