"""What the trainers refuse, each with a message that names the fix, and the contract with TRL that they stand on."""

import logging
import math

import pytest
import torch
from helpers import COMMON, PROMPTS, grpo, history, ppo
from tiny_models import tiny_model, tiny_tokenizer
from trl import GRPOTrainer

from train.ppo_trainer import PPOConfig


def test_a_dataset_smaller_than_one_rollout(saved_model, tmp_path):
    few = {"train_dataset": PROMPTS.select(range(7))}
    with pytest.raises(ValueError, match="7 prompts, but one rollout takes 8"):
        ppo(saved_model, tmp_path, trainer_kwargs=few)


def test_a_frozen_base_with_another_tokenizer(saved_model, tmp_path):
    tiny_model().save_pretrained(tmp_path / "other")
    tiny_tokenizer(shift=9).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="tokenizer of the frozen base .* is not the policy's"):
        ppo(saved_model, tmp_path, trainer_kwargs={"frozen_base": str(tmp_path / "other")})


def test_equal_rewards_are_said_and_harmless(saved_model, tmp_path, caplog):
    trainer = ppo(saved_model, tmp_path, [lambda completions, **_: [1.0] * len(completions)], kl_coef=0.0, max_steps=1)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "all 8 rewards of this rollout are equal (1)" in caplog.text
    assert math.isfinite(history(trainer, "loss")[0])


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"beta": 0.1}, "set kl_coef"),
        ({"reward_placement": "last"}, "reward_placement"),
        ({"gamma": 1.2}, "gamma and lam"),
        ({"whiten_floor": 0.0}, "whiten_floor"),
        ({"per_device_train_batch_size": 1, "steps_per_generation": 1}, "rollout of one response"),
    ],
)
def test_settings_that_make_no_sense(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        PPOConfig(output_dir=str(tmp_path), **(COMMON | changes))


def test_an_unsaved_model_is_its_own_frozen_base(tmp_path):
    model = tiny_model(initializer_range=0.2)
    trainer = ppo(model, tmp_path, max_steps=1)
    before = [p.clone() for p in trainer.frozen_base._lm.parameters()]
    trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.frozen_base._lm.parameters()))
    moved = zip(trainer.model.parameters(), trainer.frozen_base._lm.parameters())
    assert any(not torch.equal(a, b) for a, b in moved)


def test_contract_with_trl(saved_model, tmp_path):
    """If this fails after an upgrade, TRL changed something that the trainers build on: read its change first."""
    seen = {}

    class Probe(GRPOTrainer):
        def _generate(self, prompts):
            result = super()._generate(prompts)
            seen["generated"] = result
            return result

        def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
            seen["columns"] = [{**example, "probe": i} for i, example in enumerate(inputs)]
            rewards = super()._calculate_rewards(seen["columns"], prompts, completions, completion_ids_list)
            seen["rewards"] = rewards
            return rewards

        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            seen["output"] = output
            shape = output["completion_mask"].shape
            output["advantages"] = torch.ones(shape)  # (B, T) advantages must be accepted
            return output

    def reward(prompts, completions, completion_ids, probe, **_):
        seen["probe"] = probe
        return [0.0] * len(prompts)

    trainer = grpo(saved_model, tmp_path, cls=Probe, rewards=[reward], max_steps=1, beta=0.0)
    trainer.train()
    prompt_ids, completion_ids = seen["generated"][:2]
    assert isinstance(prompt_ids[0][0], int)
    assert isinstance(completion_ids[0][0], int)
    assert seen["probe"] == list(range(8))  # extra columns reach reward functions
    assert seen["rewards"].shape == (8, 1)
    keys = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"}
    assert keys <= set(seen["output"])
    assert "old_per_token_logps" in seen["output"]  # two updates a rollout are off-policy
    for name in (
        "eos_token_ids",
        "reward_weights",
        "reward_func_names",
        "_step",
        "_buffered_inputs",
        "_metrics",
        "_logs",
    ):
        assert hasattr(trainer, name)
