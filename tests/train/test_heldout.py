"""Held-out evaluation: every row counts alike, and the training does not know of it."""

import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers import grpo, history, ppo
from tiny_models import tiny_model
from transformers import set_seed

from rewards import EndoRM, Shaping
from train.heldout import unchanged_random_state
from train.reward_mix import ShapedReward

FIVE = Dataset.from_dict({"prompt": ["ab", "cde", "f", "gh=", "ijk"]})
WORTH = {"ab": 1.0, "cde": None, "f": 0.0, "gh=": 0.0, "ijk": 4.0}


def worth(prompts, **_):
    return [WORTH.get(p, 0.0) for p in prompts]


def first(prompts, **_):
    return [float(p == "ab") for p in prompts]


@pytest.mark.parametrize("algorithm", [ppo, grpo])
@pytest.mark.parametrize("batch", [2, 4, 8])
@pytest.mark.parametrize("mixed", [False, True])
def test_five_prompts_in_batches_are_five_prompts(algorithm, batch, mixed, saved_model, tmp_path):
    rewards, weights = [first, worth], {"reward_weights": [1.0, 0.5]}
    if mixed:
        rewards, weights = [ShapedReward(first), ShapedReward(worth, Shaping(weight=0.5, clip=2.0))], {}
    settings = {"per_device_eval_batch_size": batch, "num_generations_eval": 1, **weights}
    trainer = algorithm(saved_model, tmp_path, rewards=rewards, trainer_kwargs={"eval_dataset": FIVE}, **settings)
    found = trainer.evaluate()
    assert found["eval_rewards/first/mean"] == pytest.approx(0.2)
    assert found["eval_rewards/worth/mean"] == pytest.approx(5 / 4)  # None applies to nobody
    assert found["eval_rewards/worth/std"] == pytest.approx(np.std([1, 0, 0, 4], ddof=1))
    totals = [1 + 0.5, 0.0, 0.0, 0.0, (2.0 if mixed else 4.0) * 0.5]
    assert found["eval_reward"] == pytest.approx(np.mean(totals))
    assert found["eval_reward_std"] == pytest.approx(np.std(totals, ddof=1))
    logged = trainer.state.log_history[-1]
    assert logged["eval_rewards/first/mean"] == found["eval_rewards/first/mean"]


def test_a_row_without_any_reward_is_in_no_mean(saved_model, tmp_path):
    trainer = grpo(
        saved_model,
        tmp_path,
        rewards=[worth],
        trainer_kwargs={"eval_dataset": FIVE},
        per_device_eval_batch_size=2,
        num_generations_eval=1,
    )
    found = trainer.evaluate()
    assert found["eval_reward"] == pytest.approx(np.mean([1, 0, 0, 4]))
    assert found["eval_reward_std"] == pytest.approx(np.std([1, 0, 0, 4], ddof=1))


def test_lengths_of_all_rows(saved_model, tmp_path):
    """Means of lengths are weighted by rows; least and greatest are those of all batches."""
    seen = []

    def note(completion_ids, **_):
        seen.extend(len(ids) for ids in completion_ids)
        return [0.0] * len(completion_ids)

    kwargs = {"eval_dataset": FIVE}
    model = tiny_model(initializer_range=0.2)
    model.generation_config.eos_token_id = list(range(2, 30))
    trainer = ppo(model, tmp_path, [note], kwargs, per_device_eval_batch_size=2)
    found = trainer.evaluate()
    assert len(set(seen)) > 1
    assert found["eval_completions/mean_length"] == pytest.approx(np.mean(seen))
    assert (found["eval_completions/min_length"], found["eval_completions/max_length"]) == (min(seen), max(seen))


def test_several_datasets_each_weigh_their_own_rows(saved_model, tmp_path):
    kwargs = {"eval_dataset": {"five": FIVE, "two": FIVE.select([0, 2])}}
    trainer = ppo(saved_model, tmp_path, [first], kwargs, per_device_eval_batch_size=4)
    found = trainer.evaluate()
    assert history(trainer, "eval_rewards/first/mean") == pytest.approx([0.2, 0.5])
    assert found["eval_five_rewards/first/mean"] == pytest.approx(0.2)
    assert found["eval_two_rewards/first/mean"] == pytest.approx(0.5)
    assert "eval_rewards/first/mean" not in found


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_a_training_is_the_same_to_the_bit_with_and_without_evaluation(algorithm, saved_model, tmp_path):
    def drawing(completion_ids, **_):
        return [random.random() + np.random.rand() + float(torch.rand(())) for _ in completion_ids]

    runs = [
        algorithm(
            saved_model,
            tmp_path / when,
            trainer_kwargs={"eval_dataset": FIVE},
            eval_strategy=when,
            per_device_eval_batch_size=4,
            rewards=[EndoRM(), drawing],
            max_steps=8,
            eval_steps=1,
        )
        for when in ("no", "steps")
    ]
    for trainer in runs:
        set_seed(0)
        trainer.train()
    without, watched = runs
    assert len(history(watched, "eval_reward")) == 8
    for key in ("loss", "grad_norm", "reward", "entropy", "critic/loss", "rewards/drawing/mean"):
        assert history(watched, key) == history(without, key)
    for a, b in zip(without.model.parameters(), watched.model.parameters()):
        assert torch.equal(a, b)


def test_the_random_state_comes_back_after_an_error_too():
    before = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())

    def draw_and_fail():
        with unchanged_random_state():
            random.random(), np.random.rand(), torch.rand(3)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        draw_and_fail()
    after = (random.getstate(), np.random.get_state()[1], torch.get_rng_state())
    assert before[0] == after[0]
    assert (before[1] == after[1]).all()
    assert torch.equal(before[2], after[2])
