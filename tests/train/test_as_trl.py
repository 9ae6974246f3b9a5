"""What TRL's trainer takes, ours take; what would have no effect, or make a reward drift, is refused."""

from pathlib import Path

import pytest
import torch
import trl
from helpers import COMMON, PROMPTS, grpo, history, ppo
from tiny_models import judge_model, word_tokenizer
from trl import GRPOConfig

from rewards import EndoRM
from train.grpo_trainer import EndoGRPOTrainer
from train.ppo_trainer import PPOConfig, PPOTrainer


def constant(completion_ids, **_):
    return [100.0] * len(completion_ids)


@pytest.mark.parametrize("trainer,config", [(EndoGRPOTrainer, GRPOConfig), (PPOTrainer, PPOConfig)])
def test_no_reward_source_at_all_is_an_error(trainer, config, saved_model, tmp_path):
    with pytest.raises(ValueError, match="No reward source provided"):
        trainer(saved_model, args=config(str(tmp_path), bf16=False, use_cpu=True), train_dataset=PROMPTS)


@pytest.mark.parametrize("cls", [EndoGRPOTrainer, PPOTrainer])
def test_without_args_the_config_is_the_trainers_own(cls, saved_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = cls.config_class  # of a machine without bfloat16
    monkeypatch.setattr(cls, "config_class", staticmethod(lambda folder: plain(folder, bf16=False, use_cpu=True)))
    trainer = cls(saved_model, [EndoRM()], train_dataset=PROMPTS)
    assert isinstance(trainer.args, plain)
    assert trainer.args.output_dir.endswith(f"-{cls._name}")


class Room:
    """An environment that has the prompt and the reward to itself."""

    def reset(self, **_):
        return "say something"

    def look(self) -> str:
        """Looks around."""
        return "nothing"

    def get_reward(self) -> float:
        return 1.0


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_an_environments_own_reward_is_enough(algorithm, tmp_path):
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    tokenizer = word_tokenizer(template.read_text(encoding="utf-8"))
    tokenizer.eos_token = "<|im_end|>"
    model = judge_model(eos_token_id=tokenizer.eos_token_id, max_position_embeddings=2048)
    cls, config = (PPOTrainer, PPOConfig) if algorithm == "ppo" else (EndoGRPOTrainer, GRPOConfig)
    args = config(str(tmp_path), **(COMMON | {"max_steps": 1, "num_generations": 1 if algorithm == "ppo" else 4}))
    trainer = cls(model, args=args, environment_factory=Room, processing_class=tokenizer)
    trainer.train()
    assert history(trainer, "rewards/Room/mean") == [1.0]
    assert history(trainer, "reward") == [1.0]


# ---------------------------------------------------------------------- what has no effect, or would move the base


@pytest.mark.parametrize(
    "changes", [{"scale_rewards": "batch"}, {"scale_rewards": False}, {"use_bias_correction_kl": False}]
)
def test_ppo_refuses_what_only_grpo_reads(changes, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(changes))} has no effect in PPO: .* Leave"):
        PPOConfig(str(tmp_path), **changes)
    with pytest.raises(ValueError, match="multi_objective_aggregation has no effect"):
        PPOConfig(str(tmp_path), multi_objective_aggregation="normalize_then_sum")


def test_a_frozen_base_that_follows_the_policy(saved_model, tmp_path):
    """It does so where nothing but the KL term reads it; a reward, or PPO's critic, would change under way."""
    settings = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.5, "beta": 0.1}
    trainer = grpo(saved_model, tmp_path, rewards=[constant], max_steps=2, **settings)
    before = [p.clone() for p in trainer.frozen_base._lm.parameters()]
    trainer.train()
    for old, new, policy in zip(before, trainer.frozen_base._lm.parameters(), trainer.model.parameters()):
        torch.testing.assert_close(new, 0.5 * old + 0.5 * policy)
    with pytest.raises(ValueError, match="moves the frozen base, but rewards"):
        grpo(saved_model, tmp_path, rewards=[EndoRM()], **settings)
    with pytest.raises(ValueError, match="PPO's critic"):
        ppo(saved_model, tmp_path, [constant], sync_ref_model=True)
    with pytest.raises(ValueError, match="needs beta above 0"):
        grpo(saved_model, tmp_path, rewards=[constant], **(settings | {"beta": 0.0}))


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_a_compiled_policy_learns_as_a_plain_one(algorithm, saved_model, tmp_path):
    losses = []
    for compiled in ({}, {"torch_compile": True, "torch_compile_backend": "eager"}):
        trainer = algorithm(saved_model, tmp_path, max_steps=2, **compiled)
        trainer.train()
        losses.append(history(trainer, "loss") + history(trainer, "reward"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
