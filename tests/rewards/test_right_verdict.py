"""Right and wrong verdicts, completions without one, and rows without a winner."""

import pytest

from rewards import get_reward
from train.recipe_rewards import rewards_of_recipe

right_verdict = get_reward("right_verdict")


def test_right_wrong_and_none():
    logged = {}
    texts = ["It is Lima. Verdict: [[A]]", "Verdict: [[A]]", "<think>[[A]]</think>[[B]]", "<think>[[A]]", "[[tie]]"]
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    for completions in (texts, chats):
        rewards = right_verdict(completions, winner=[*"ABBAA"], log_metric=logged.__setitem__, other=[1])
        assert rewards == [1.0, 0.0, 1.0, 0.0, 0.0]
        assert logged == {"right_verdict/unparsable": 2 / 5}
    assert right_verdict([], winner=[]) == []


@pytest.mark.parametrize("winner", [None, "tie", "a", "", 0])
def test_a_row_without_a_winner(winner):
    with pytest.raises(ValueError, match=f"winner of 'A' or 'B' in every row, but row 1 of this batch has {winner!r}"):
        right_verdict(["[[A]]"] * 2, winner=["A", winner])


def test_no_column_at_all():
    with pytest.raises(ValueError, match="right_verdict needs the column 'winner', but the dataset has label"):
        right_verdict(["[[A]]"], label=["A"])


def test_by_its_name_in_a_recipe():
    [entry] = rewards_of_recipe(["right_verdict"])
    assert (entry.name, entry.func(completions=["[[B]]"], winner=["B"])) == ("right_verdict", [1.0])
