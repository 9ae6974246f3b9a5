"""A response to which no reward applies teaches nothing, and is told of in a few words."""

import pytest
import torch
from helpers import capture, grpo, history, ppo
from trl import GRPOTrainer

from rewards import Shaping
from train.reward_mix import ShapedReward


def some(completion_ids, **_):
    """Applies to every other response."""
    return [float(sum(ids) % 7) if i % 2 else None for i, ids in enumerate(completion_ids)]


def logged_only(completion_ids, **_):
    return [100.0] * len(completion_ids)


def watched(trainer):
    """What the trainer learns from in its rollouts, and what its critic is fitted on."""
    batches, fits = [], []
    real, real_fit = trainer._generate_and_score_completions, getattr(trainer, "critic", None) and trainer.critic.fit
    trainer._generate_and_score_completions = lambda inputs: batches.append(real(inputs)) or batches[-1]
    if real_fit:
        trainer.critic.fit = lambda *args: fits.append(args) or real_fit(*args)
    trainer.train()
    return batches, fits


@pytest.mark.parametrize("extra", [[], [logged_only]], ids=["alone", "beside one of weight 0"])
def test_in_ppo_neither_the_policy_nor_the_critic_learns_from_it(extra, saved_model, tmp_path):
    weights = [1.0, 0.0][: 1 + len(extra)]
    trainer = ppo(saved_model, tmp_path, [some, *extra], max_steps=4, reward_weights=weights, kl_coef=0.3)
    batches, fits = watched(trainer)
    batch = batches[-1]  # the critic's values are no longer 0
    n = batch["completion_mask"].sum(1)
    assert not batch["advantages"][::2].any()
    taught = batch["advantages"][1::2][batch["completion_mask"][1::2].bool()]
    assert float(taught.mean()) == pytest.approx(0.0, abs=1e-5)  # whitened over the rows that teach
    assert float(taught.std(unbiased=False)) == pytest.approx(1.0, abs=1e-2)
    assert len(fits[-1][3]) == int(n[1::2].sum())
    assert history(trainer, "completions/without_reward") == [0.5, 0.5]
    for name in ("some", "logged_only")[: 1 + len(extra)]:
        values = torch.tensor(list(trainer._logs["rewards"][name]))
        assert history(trainer, f"rewards/{name}/mean")[-1] == pytest.approx(float(values.nanmean()))
    assert history(trainer, "rewards/logged_only/mean") == [100.0, 100.0][: 2 * len(extra)]


def test_grpo_gives_it_no_advantage_even_beside_a_reward_that_is_only_logged(saved_model, tmp_path):
    settings = {"reward_weights": [1.0, 0.0], "rewards": [some, logged_only], "max_steps": 1, "beta": 0.0}
    alone = {"reward_weights": [1.0], "rewards": [some], "max_steps": 1, "beta": 0.0}
    ours, _ = watched(grpo(saved_model, tmp_path, **settings))
    theirs, _ = watched(grpo(saved_model, tmp_path, cls=GRPOTrainer, **alone))
    assert torch.equal(ours[0]["completion_ids"], theirs[0]["completion_ids"])
    torch.testing.assert_close(ours[0]["advantages"], theirs[0]["advantages"])
    assert not ours[0]["advantages"][::2].any()


def test_what_a_gate_closes_is_no_missing_reward(saved_model, tmp_path):
    """A gate makes a reward 0, which is learned from; that a reward does not apply is said by the function alone."""
    rewards = [ShapedReward(logged_only, Shaping(gate="some")), ShapedReward(some, Shaping(weight=0.0))]
    trainer = ppo(saved_model, tmp_path, rewards, max_steps=1, kl_coef=0.0)
    seen = capture(trainer)
    assert history(trainer, "completions/without_reward") == [0.0]
    assert not seen["rewards"][::2].any()
    assert bool((seen["mask"].sum(1) > 0).all())


def test_the_critic_is_fitted_on_the_states_before_the_tokens_that_teach(saved_model, tmp_path):
    """Of every other response: the state before each of its tokens, never the one after the last, with the soft value
    and the value that belong to it."""
    trainer = ppo(saved_model, tmp_path, [some], max_steps=4)
    seen, real = [], trainer.critic.fit

    def keep(*given):
        with torch.no_grad():
            known = trainer.critic.critic(given[0], given[1])  # as it was in the rollout
        seen.append((given, trainer.rollout.frozen[1::2], known))
        return real(*given)

    trainer.critic.fit = keep
    trainer.train()
    (hidden, soft_values, values, _, _), taught, known = seen[-1]
    torch.testing.assert_close(hidden, torch.cat([s.hidden[: len(s.q)] for s in taught]))
    torch.testing.assert_close(soft_values, torch.cat([s.v[1.0][: len(s.q)] for s in taught]))
    torch.testing.assert_close(values, known)


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_a_gate_that_does_not_apply_is_closed_alike_in_both_trainers(algorithm, saved_model, tmp_path):
    rewards = [ShapedReward(logged_only, Shaping(gate="some")), ShapedReward(some, Shaping(weight=0.0))]
    trainer = algorithm(saved_model, tmp_path, rewards=rewards, max_steps=1)
    totals, real = [], trainer._calculate_rewards
    trainer._calculate_rewards = lambda *args: totals.append(real(*args)) or totals[-1]
    trainer.train()
    assert not totals[0][::2, 0].any()  # 0 and known
    assert bool(totals[0][::2, 1].isnan().all())


def test_a_rollout_without_any_reward_moves_nothing(saved_model, tmp_path):
    def some_at_first(completion_ids, trainer_state, **_):
        return some(completion_ids) if trainer_state.global_step < 4 else [None] * len(completion_ids)

    trainer = ppo(saved_model, tmp_path, [some_at_first], max_steps=6)
    before, real = [], trainer.critic.fit

    def fit(*args):
        before[:] = [p.clone() for p in trainer.critic.critic.parameters()]
        return real(*args)

    trainer.critic.fit = fit
    trainer.train()
    assert history(trainer, "completions/without_reward") == [0.5, 0.5, 1.0]
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.critic.critic.parameters()))
