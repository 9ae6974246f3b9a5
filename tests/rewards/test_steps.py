"""Steps of a response, which token belongs to which, and rewards aggregated over them."""

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer, word_tokenizer

from rewards import EndoRM, FrozenBase
from rewards.steps import StepReward, aggregate_steps, step_starts, token_steps


def steps_of(text: str, rule: str) -> list[str]:
    starts = [0, *step_starts(text, rule), len(text)]
    return [text[a:b] for a, b in zip(starts, starts[1:])]


def test_lines():
    assert steps_of("a\nb", "line") == ["a\n", "b"]
    assert steps_of("a\n\n  \nb\n", "line") == ["a\n\n  \n", "b\n"]
    assert steps_of("\n\na\n  b", "line") == ["\n\na\n", "  b"]
    assert steps_of("one line", "line") == ["one line"]
    assert steps_of("", "line") == [""]
    assert steps_of(" \n \n", "line") == [" \n \n"]


def test_headings_or_else_blank_lines():
    text = "Let us see.\nStep 1: add\n\nmore\n**Step 2** multiply\n## step 3\nend"
    assert steps_of(text, "step") == [
        "Let us see.\n",
        "Step 1: add\n\nmore\n",
        "**Step 2** multiply\n",
        "## step 3\nend",
    ]
    assert steps_of("a\nb\n\nc\n \nd\n\n", "step") == ["a\nb\n\n", "c\n \n", "d\n\n"]
    assert steps_of("The first Step 1 is not a heading", "step") == ["The first Step 1 is not a heading"]
    with pytest.raises(ValueError, match="rule must be one of"):
        step_starts("a", "word")


def test_tokens_belong_where_their_last_character_does():
    assert token_steps(["a", ".\n", "b", "\nc", "d", ""]).tolist() == [0, 0, 1, 2, 2, 2]
    assert token_steps(["", "a", "\n", "\n", "b", "\n", ""]).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert token_steps(["a\nb\nc", "d"]).tolist() == [2, 2]  # a token over three lines


def test_aggregates_by_hand():
    rewards, steps = torch.tensor([1.0, -2.0, 3.0, 4.0, 6.0, 5.0]), torch.tensor([0, 0, 0, 1, 3, 3])
    assert aggregate_steps(rewards, steps, "sum").tolist() == [0, 0, 2.0, 4.0, 0, 11.0]
    assert aggregate_steps(rewards, steps, "mean").tolist() == pytest.approx([0, 0, 2 / 3, 4.0, 0, 5.5])
    assert aggregate_steps(rewards, steps, "min").tolist() == [0, 0, -2.0, 4.0, 0, 5.0]
    with pytest.raises(ValueError, match="reduce must be one of"):
        aggregate_steps(rewards, steps, "max")


def test_endorm_by_steps_whatever_the_batch():
    tokenizer = tiny_tokenizer()
    inner = EndoRM(FrozenBase(tiny_model()), tokenizer, discount=0.9)
    prompts, texts = ["ab", "c"], ["x\nyz\n\nw", "one line"]
    ids = [[*tokenizer(t, add_special_tokens=False)["input_ids"], 2] for t in texts]
    batch = {"prompts": prompts, "completions": texts, "completion_ids": ids}
    plain = inner.per_token(**batch)
    for reduce, function in (("sum", torch.sum), ("mean", torch.mean), ("min", torch.amin)):
        reward = StepReward(inner, "line", reduce)
        rows = reward.per_token(**batch)
        expected = torch.zeros(len(ids[0]))  # x \n | y z \n \n | w and the end token
        for start, end in ((0, 2), (2, 6), (6, 8)):
            expected[end - 1] = function(plain[0][start:end])
        torch.testing.assert_close(rows[0], expected)
        assert rows[1].nonzero().tolist() == [[len(ids[1]) - 1]]
        assert reward(**batch) == pytest.approx([float(r.sum()) for r in rows])
        for i in range(2):
            alone = reward.per_token(**{k: v[i : i + 1] for k, v in batch.items()})[0]
            torch.testing.assert_close(alone, rows[i], atol=1e-4, rtol=0)
        assert reward(prompts, texts) == pytest.approx(reward(**batch), abs=1e-4)  # texts alone, end token added
    assert StepReward(inner)(**batch) == pytest.approx(inner(**batch), abs=1e-4)


def test_characters_split_over_tokens_keep_their_line():
    tokenizer = word_tokenizer()
    ids = tokenizer("ü→\n漢字", add_special_tokens=False)["input_ids"]
    rewards = [[1.0] * len(ids)]
    reward = StepReward(lambda **_: rewards, tokenizer=tokenizer)
    row = reward.per_token(prompts=["a"], completions=["b"], completion_ids=[ids])[0]
    first = len("ü→\n".encode())
    assert row.nonzero()[:, 0].tolist() == [first - 1, len(ids) - 1]
    assert row.sum() == len(ids)


def test_bad_input_and_none():
    tokenizer = tiny_tokenizer()
    batch = {"prompts": ["a"], "completions": ["b"], "completion_ids": [[5]]}
    assert StepReward(lambda **_: [None], tokenizer=tokenizer)(**batch) == [None]
    with pytest.raises(ValueError, match="needs one reward a token"):
        StepReward(lambda **_: [1.0], tokenizer=tokenizer)(**batch)
    with pytest.raises(ValueError, match="pass tokenizer="):
        StepReward(lambda **_: [[1.0]])(**batch)
    with pytest.raises(ValueError, match="rule must be one of"):
        StepReward(EndoRM(), "paragraph")
