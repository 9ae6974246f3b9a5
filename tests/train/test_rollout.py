"""What is known of a rollout."""

import logging
import math

import pytest
import torch
from helpers import capture, grpo, history, ppo
from transformers import AutoTokenizer

from rewards.lens import token_texts, visible
from train.rollout import beside, without_reward


def test_which_responses_have_no_reward():
    nan = torch.nan
    raw = torch.tensor([[1.0, nan], [nan, 2.0], [nan, nan], [0.0, 0.0]])
    assert without_reward(raw, torch.tensor([1.0, 1.0])).tolist() == [False, False, True, False]
    assert without_reward(raw, torch.tensor([1.0, 0.0])).tolist() == [False, True, True, False]
    assert without_reward(raw, torch.tensor([0.0, 0.0])).tolist() == [False, False, True, False]


def test_equal_rewards_are_said_and_harmless(saved_model, tmp_path, caplog):
    trainer = ppo(saved_model, tmp_path, [lambda completions, **_: [1.0] * len(completions)], kl_coef=0.0, max_steps=1)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "all 8 rewards of this rollout are equal (1)" in caplog.text
    assert math.isfinite(history(trainer, "loss")[0])


def test_numbers_stand_beside_the_words_of_a_response():
    texts, numbers = (
        ["It", " is", " ", "9", "", "日", "\n", "tool"],
        torch.tensor([-4.404, 2.5, 0, -8.3, 1, -1, 0.1, 7]),
    )
    own = torch.tensor([True] * 7 + [False])
    assert beside(texts, numbers, own) == "It:-4.40│ is:+2.50│ :+0.00│9:-8.30│⋯:+1.00│日:-1.00│⏎\n:+0.10│tool"


def test_the_table_of_completions_has_words_log_probabilities_and_rewards(rehearsal, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(rehearsal)
    kwargs = {"processing_class": tokenizer}
    trainer = ppo(
        rehearsal, tmp_path, None, kwargs, max_steps=1, log_completions=True, num_completions_to_print=0, kl_coef=0.0
    )
    seen = capture(trainer)
    table = {name: list(column) for name, column in trainer._logs["extra"].items()}
    rewards = list(trainer._logs["rewards"]["endorm"])
    assert list(table) == ["endorm_tokens", "log_prob_tokens"]
    for i, (ids, scores) in enumerate(zip(seen["ids"], seen["scores"])):
        cells = {name: [cell.rsplit(":", 1) for cell in column[i].split("│")] for name, column in table.items()}
        found = {name: [float(number) for _, number in cell] for name, cell in cells.items()}
        assert found["log_prob_tokens"] == pytest.approx(scores.log_probs.tolist(), abs=0.006)
        assert sum(found["endorm_tokens"]) == pytest.approx(rewards[i], abs=0.006 * len(ids))
        for cell in cells.values():
            assert [text for text, _ in cell] == [visible(text) or "⋯" for text in token_texts(tokenizer, ids)]
            assert not any(mark in text for text, _ in cell for mark in "ĠĊ")


def test_without_endorm_the_table_has_log_probabilities_alone(saved_model, tmp_path):
    rewards = [lambda completions, **_: [float(i) for i in range(len(completions))]]
    shown = {"log_completions": True, "num_completions_to_print": 0, "max_steps": 1}
    trainer = grpo(saved_model, tmp_path, rewards=rewards, **shown)
    trainer.train()
    assert list(trainer._logs["extra"]) == ["log_prob_tokens"]
