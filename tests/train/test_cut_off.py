"""A response that was cut off is paid once: it ends there, for the returns, and no value of the critic lies beyond."""

import pytest
import torch
from datasets import Dataset
from helpers import COMMON, capture, history, ppo
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM
from train.ppo_trainer import PPOConfig, PPOTrainer

pytestmark = pytest.mark.slow

DATA = Dataset.from_dict({"prompt": ["ab", "cde", "f", "gh=", "ijk", "l", "mn", "o+p"] * 32})


def one(completions, **_):
    return [1.0] * len(completions)


def run(folder, reward, ends=(2,), seed=0, **settings):
    """PPO on a tiny model whose responses end with any of `ends`, or never."""
    model = tiny_model(initializer_range=0.2)
    model.generation_config.eos_token_id = list(ends)
    args = PPOConfig(str(folder), **(COMMON | {"seed": seed} | settings))
    trainer = PPOTrainer(model, [reward], args, train_dataset=DATA, processing_class=tiny_tokenizer())
    trainer.train()
    return trainer


@pytest.mark.parametrize("placement", ["dense", "terminal"])
@pytest.mark.parametrize("lam", [1.0, 0.95])
def test_returns_of_cut_off_responses_stay_the_reward(placement, lam, tmp_path):
    settings = {"max_steps": 40, "kl_coef": 0.0, "max_completion_length": 1, "learning_rate": 1e-6}
    trainer = run(tmp_path, one, reward_placement=placement, lam=lam, per_device_train_batch_size=2, **settings)
    assert history(trainer, "returns/mean") == pytest.approx([1.0] * 20, abs=1e-3)
    long = settings | {"max_completion_length": 5}
    trainer = run(tmp_path, one, reward_placement=placement, lam=lam, **long)
    assert max(history(trainer, "completions/eos_rate")) < 0.3
    assert history(trainer, "returns/mean") == pytest.approx([1.0] * 20, abs=1e-3)
    assert history(trainer, "values/mean") == pytest.approx([1.0] * 20, abs=1e-3)


def test_dense_returns_do_not_drift(tmp_path):
    """EndoRM undiscounted at lambda 1: the first token's return is the sum of its response's rewards, in every
    rollout, whatever the critic says meanwhile."""
    settings = {"max_steps": 20, "kl_coef": 0.0, "lam": 1.0, "learning_rate": 1e-6}
    trainer = ppo(tiny_model(initializer_range=0.2), tmp_path, [EndoRM()], **settings)
    rows = []
    real = trainer._with_advantages
    trainer._with_advantages = lambda *args: rows.append(real(*args)) or rows[-1]
    trainer.train()
    assert len(rows) == 10
    for rollout, _ in rows:
        assert rollout.returns[:, 0].tolist() == pytest.approx(rollout.raw_rewards[:, 0].tolist(), abs=1e-3)


@pytest.mark.parametrize("learning_rate", [1e-3, 5e-3])
def test_a_constant_reward_does_not_teach_to_be_cut_off(learning_rate, tmp_path):
    """With a bootstrapped value on top of the reward the share that ends falls to a third, or a tenth."""
    settings = {"per_device_train_batch_size": 64, "max_steps": 60, "learning_rate": learning_rate}
    shares = []
    for seed in range(3):
        trainer = run(tmp_path, one, range(2, 7), seed, **settings)
        shares.append(history(trainer, "completions/eos_rate"))
    start, end = (sum(sum(row[part]) for row in shares) / 15 for part in (slice(0, 5), slice(-5, None)))
    assert 0.1 < start < 0.3
    assert abs(end - start) < 0.05


def test_a_wrong_response_that_was_cut_off_gets_no_more_than_one_that_ended(tmp_path):
    """Accuracy as the reward, after some rollouts in which right answers have raised the critic's values."""
    right = {"on": True}

    def accuracy(completion_ids, **_):
        return [float(right["on"] and sum(ids) % 2 == 0) for ids in completion_ids]

    model = tiny_model(initializer_range=0.2)
    model.generation_config.eos_token_id = list(range(2, 20))
    settings = COMMON | {"max_steps": 20, "per_device_train_batch_size": 16, "kl_coef": 0.0, "learning_rate": 1e-6}
    args = PPOConfig(str(tmp_path), **settings, whiten_advantages=False, lam=1.0)
    trainer = PPOTrainer(model, [accuracy], args, train_dataset=DATA, processing_class=tiny_tokenizer())
    rollouts, real = [], trainer._with_advantages

    def last_one_is_wrong(*given):
        rollouts.append(real(*given)[0])
        right["on"] = len(rollouts) < 9
        return real(*given)

    trainer._with_advantages = last_one_is_wrong
    trainer.train()
    rollout = rollouts[-1]
    assert not rollout.raw_rewards.any()  # all wrong, some cut off, and the critic hoped for more
    assert 0 < int(rollout.cut_off.sum()) < len(rollout)
    assert float(rollout.values[rollout.mask.bool()].mean()) > 0.2
    assert not rollout.returns.any()
    torch.testing.assert_close(rollout.advantages, -rollout.values, atol=1e-6, rtol=0)


def test_the_reward_knows_that_a_response_was_cut_off(saved_model, tmp_path):
    seen = capture(ppo(saved_model, tmp_path, kl_coef=0.0, max_steps=1))
    for row, ids, scores in zip(seen["rewards"], seen["ids"], seen["scores"]):
        last = len(ids) - 1
        beyond = float(scores.v[1.0][-1]) if ids[-1] != 2 else float(torch.tensor(97.0).log())
        assert float(row[last]) == pytest.approx(float(scores.q[last]) - beyond, abs=1e-4)
