"""TRL's penalties of length and repetition on cases made by hand."""

import pytest

from rewards.length_penalties import CosineLength, Overlong, RepetitionPenalty


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


@pytest.mark.parametrize("reward", [CosineLength(), RepetitionPenalty(), Overlong()])
def test_without_token_ids(reward):
    with pytest.raises(ValueError, match=f"{reward.__name__} counts tokens: give completion_ids"):
        reward(prompts=["p"], completions=["a"], solution=["1"])


def test_cosine_length_without_its_column():
    with pytest.raises(ValueError, match="needs the column 'solution', but the dataset has none"):
        CosineLength()(prompts=["p"], completions=["a"], completion_ids=[[1]])
