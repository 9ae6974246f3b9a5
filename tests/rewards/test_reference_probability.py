"""What RLPR and VeriFree share: where a response's reasoning ends, and what they refuse."""

import pytest
from references import COMPLETIONS, PROMPTS, SOLUTIONS
from tiny_models import judge_model, tiny_model, tiny_tokenizer, word_tokenizer

from rewards import FrozenBase, get_reward


@pytest.mark.parametrize("name", ["rlpr", "verifree"])
def test_the_reasoning_ends_where_a_pattern_finds_the_answer(name):
    reward = get_reward(name)(FrozenBase(tiny_model()), tiny_tokenizer(), answer=r"=(\d)$", column="answer")
    assert [reward.reasoning(r) for r in ("a=1=2", "a=12", "")] == ["a=1=", None, None]


def test_odd_input():
    base, tokenizer = FrozenBase(judge_model()), word_tokenizer()
    for name in ("rlpr", "verifree"):
        reward = get_reward(name)(base, tokenizer)
        with pytest.raises(ValueError, match=f"{name} needs the column 'solution'"):
            reward(PROMPTS, COMPLETIONS)
        none = reward(["a"] * 3, [r"\boxed{1}", "", r"\boxed{}"], solution=["", None, r"\boxed{}"])
        assert none == [None, None, None]
        assert reward(["a", "b"], ["", "no box"], solution=["1", "2"]) == [0.0, 0.0]
        assert reward([], [], solution=[]) == []
        with pytest.raises(ValueError, match=f"{name} has no model to score with"):
            get_reward(name)()(PROMPTS, COMPLETIONS, solution=SOLUTIONS)
        with pytest.raises(ValueError, match="online means that the policy scores"):
            get_reward(name)(base, tokenizer, online=True)
        with pytest.raises(ValueError, match="leave base, model and chat_template_kwargs out"):
            get_reward(name)(online=True, chat_template_kwargs={"enable_thinking": False})
