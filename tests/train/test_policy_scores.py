"""Online rewards: the policy's own statistics, from the forward that gives its log-probs, padded or not."""

import math

import pytest
import torch
from helpers import grpo, history, ppo, trained
from peft import LoraConfig
from tiny_models import tiny_model

from rewards import EndoRM, FrozenBase, StepReward, get_reward

NAMES = ("self_certainty", "negative_entropy", "mean_log_likelihood", "sequence_log_likelihood")
OFF_POLICY = {"num_iterations": 2, "max_steps": 9}
ON_POLICY = {"steps_per_generation": 1, "per_device_train_batch_size": 8, "max_steps": 5}


def rewards_of_both():
    """Each reward twice, with the frozen base and with the policy as scorer."""
    functions = []
    for name in NAMES:
        frozen, online = get_reward(name)(), get_reward(name)(online=True)
        online.__name__ = f"online_{name}"
        functions += [frozen, online]
    return functions


def spied(trainer):
    """Counts the policy's forwards outside of generation and of the loss, and keeps what the last rollout scored."""
    seen = {"forwards": 0}
    real = trainer._get_per_token_logps_and_entropies
    real_rewards = trainer._calculate_rewards

    def count(*args, **kwargs):
        seen["forwards"] += not torch.is_grad_enabled()
        return real(*args, **kwargs)

    def keep(inputs, prompts, completions, ids):
        seen["weights"] = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        seen["ids"] = [list(p) for p in trainer.rollout.prompt_ids], [list(i) for i in ids]
        rewards = real_rewards(inputs, prompts, completions, ids)
        seen["rewards"] = rewards.clone()
        return rewards

    trainer._get_per_token_logps_and_entropies, trainer._calculate_rewards = count, keep
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ppo, grpo])
@pytest.mark.parametrize("settings", [OFF_POLICY, ON_POLICY], ids=["off_policy", "on_policy"])
def test_they_are_the_policys_statistics_and_cost_no_second_forward(algorithm, settings, saved_model, tmp_path):
    trainer = algorithm(saved_model, tmp_path, rewards=rewards_of_both(), **settings)
    seen = spied(trainer)
    trainer.train()
    rollouts = len(history(trainer, "rewards/self_certainty/mean"))
    rollouts = rollouts if settings is ON_POLICY else 3
    # the rollout's log-probs, once for each batch of each rollout
    assert seen["forwards"] == rollouts
    assert trainer.frozen_base.forwards == rollouts
    policy = tiny_model(initializer_range=0.2)
    policy.load_state_dict(seen["weights"])
    scores = FrozenBase(policy).score(*seen["ids"], (1.0,), distribution=True)
    for i, name in enumerate(NAMES):
        expected = [get_reward(name)(FrozenBase(policy)).values(s, True).sum().item() for s in scores]
        assert seen["rewards"][:, 2 * i + 1].tolist() == pytest.approx(expected, abs=1e-4)
        assert not torch.allclose(seen["rewards"][:, 2 * i], seen["rewards"][:, 2 * i + 1], atol=1e-3)


def test_truncated_responses_that_are_masked_are_scored_as_they_are(saved_model, tmp_path):
    """TRL hides them from the policy's forward, so that forward cannot serve."""
    settings = OFF_POLICY | {"mask_truncated_completions": True, "max_completion_length": 3}
    trainer = grpo(saved_model, tmp_path, rewards=rewards_of_both(), **settings)
    seen = spied(trainer)
    trainer.train()
    assert seen["forwards"] == 2 * 3
    policy = tiny_model(initializer_range=0.2)
    policy.load_state_dict(seen["weights"])
    scores = FrozenBase(policy).score(*seen["ids"], (1.0,), distribution=True)
    expected = [s.self_certainty.mean().item() for s in scores]
    assert seen["rewards"][:, 1].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_the_policys_adapter_is_on_for_them(saved_model, tmp_path):
    lora = {"peft_config": LoraConfig(r=4, target_modules="all-linear")}
    trainer = trained(ppo(saved_model, tmp_path, rewards_of_both(), lora, max_steps=6, learning_rate=0.05))
    for name in NAMES:
        frozen, online = (history(trainer, f"rewards/{which}{name}/mean") for which in ("", "online_"))
        assert online[0] == pytest.approx(frozen[0], abs=1e-4)  # the adapter is still zero
        assert abs(online[-1] - frozen[-1]) > 1e-3


@pytest.mark.slow
def test_an_update_on_policy_is_the_same_with_the_log_probs_that_came_along(saved_model, tmp_path):
    reward = {"rewards": [EndoRM()]}, {"rewards": [EndoRM(), get_reward("self_certainty")(online=True)]}
    losses = []
    for extra in reward:
        weights = {"reward_weights": [1.0, 0.0][: len(extra["rewards"])]}
        trainer = trained(grpo(saved_model, tmp_path, **extra, **weights, **ON_POLICY))
        losses.append(history(trainer, "loss") + history(trainer, "grad_norm"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_steps_of_an_online_reward(saved_model, tmp_path):
    inner = get_reward("sequence_log_likelihood")(online=True)
    by_steps, plain = StepReward(inner, "line"), get_reward("sequence_log_likelihood")(online=True)
    trainer = trained(ppo(saved_model, tmp_path, [by_steps, plain]))
    names = [k for row in trainer.state.log_history for k in row if k.startswith("rewards/") and k.endswith("/mean")]
    values = [history(trainer, name) for name in dict.fromkeys(names)]
    assert len(values) == 2
    assert values[0] == pytest.approx(values[1], abs=1e-4)
    assert all(math.isfinite(x) for x in values[0])


def test_outside_of_training_the_error_names_the_fix():
    reward = get_reward("self_certainty")(online=True)
    with pytest.raises(ValueError, match="online: it reads the policy's statistics"):
        reward(["a"], ["b"], [[5]])
    with pytest.raises(ValueError, match="there is no policy here"):
        reward.score(["a"], ["b"])
    with pytest.raises(ValueError, match="leave base, model, system_prompt and chat_template_kwargs out"):
        get_reward("self_certainty")(FrozenBase(tiny_model()), online=True)
