"""Controls and TRL's penalties on hand-made cases."""

from types import SimpleNamespace

import pytest

from rewards.controls import Constant, FormatOnly, Length, Random
from rewards.length_penalties import CosineLength, Overlong, RepetitionPenalty

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


def test_cosine_length():
    """1 + (0.5 - 1) at the end, half of that in the middle; wrong ones from -1 up to -0.5."""
    right, wrong = r"\boxed{2}", [{"role": "assistant", "content": r"\boxed{3}"}]
    lengths = [0, 5, 10, 30, 0, 5, 10, 5]
    rewards = CosineLength(max_length=10)(
        prompts=["p"] * 8,
        completions=[right] * 4 + [wrong] * 3 + [right],
        completion_ids=[[1] * n for n in lengths],
        solution=["2"] * 7 + ["none"],
    )
    assert rewards[:-1] == pytest.approx([1.0, 0.75, 0.5, 0.5, -1.0, -0.75, -0.5])
    assert rewards[-1] is None


def test_repetition_penalty():
    ids = [[1, 2, 3, 4], [5, 5, 5, 5, 5], [5], []]
    assert RepetitionPenalty(ngram_size=2)(completions=[""] * 4, completion_ids=ids) == [0.0, -0.75, 0.0, 0.0]
    with pytest.raises(ValueError, match="should not be positive"):
        RepetitionPenalty(max_penalty=1.0)


def test_overlong():
    ids = [[1] * n for n in (0, 80, 90, 100, 101)]
    assert Overlong(max_length=100, margin=20)(completions=[""] * 5, completion_ids=ids) == [0, 0, -0.5, -1, -1]
    with pytest.raises(ValueError, match="margin must lie"):
        Overlong(max_length=100, margin=200)


@pytest.mark.parametrize("reward", [Length(), CosineLength(), RepetitionPenalty(), Overlong()])
def test_without_token_ids(reward):
    with pytest.raises(ValueError, match=f"{reward.__name__} counts tokens: give completion_ids"):
        reward(prompts=["p"], completions=["a"], solution=["1"])


def test_cosine_length_without_its_column():
    with pytest.raises(ValueError, match="needs the column 'solution', but the dataset has none"):
        CosineLength()(prompts=["p"], completions=["a"], completion_ids=[[1]])
