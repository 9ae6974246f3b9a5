"""GRPO on tiny models, and what both trainers share: the one frozen forward, TRL's own numbers, resuming."""

import math
from pathlib import Path

import pytest
import torch
import trl
from helpers import COMMON, PROMPTS, grpo, history, ppo, trained
from safetensors.torch import load_file
from tiny_models import judge_model, word_tokenizer
from trl import GRPOConfig, GRPOTrainer

from rewards import EndoRM
from train.grpo_trainer import EndoGRPOTrainer
from train.ppo_trainer import PPOConfig, PPOTrainer


class Room:
    """An environment that has the prompt and the reward to itself."""

    def reset(self, **_):
        return "say something"

    def look(self) -> str:
        """Looks around."""
        return "nothing"

    def get_reward(self) -> float:
        return 1.0


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_one_frozen_forward_a_rollout_for_kl_reward_and_critic(algorithm, saved_model, tmp_path):
    trainer = algorithm(saved_model, tmp_path, max_steps=4)  # two rollouts of two updates
    calls = []
    frozen = trainer.frozen_base._lm.base_model
    frozen.register_forward_hook(lambda *_: calls.append(1))
    trainer.train()
    assert trainer.frozen_base.forwards == 2
    assert len(calls) == 2 + 3  # and one tiny self-check, which runs the backbone three times
    assert trainer.ref_model is None
    assert all(math.isfinite(x) for x in history(trainer, "reward"))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_reference_log_probs_are_trls_own(temperature, saved_model, tmp_path):
    """The same seed gives the same rollout; our shared forward and TRL's reference model must then give one loss."""
    rewards = [lambda completion_ids, **_: [float(sum(ids) % 7) for ids in completion_ids]]
    settings = {"rewards": rewards, "beta": 0.5, "optim": "sgd", "learning_rate": 0.1, "temperature": temperature}
    ours = trained(grpo(saved_model, tmp_path / "a", **settings))
    theirs = trained(grpo(saved_model, tmp_path / "b", cls=GRPOTrainer, **settings))
    for key in ("loss", "kl", "reward", "entropy"):
        assert history(ours, key) == pytest.approx(history(theirs, key), rel=1e-4, abs=1e-6)
    assert history(ours, "kl")[-1] > 0


def test_endorm_in_an_unmodified_trl_trainer(saved_model, tmp_path):
    rm = EndoRM.from_pretrained(saved_model, device="cpu")
    theirs = trained(grpo(saved_model, tmp_path / "a", cls=GRPOTrainer, rewards=[rm], max_steps=1))
    ours = trained(grpo(saved_model, tmp_path / "b", max_steps=1))
    assert history(ours, "rewards/endorm/mean") == pytest.approx(history(theirs, "rewards/endorm/mean"), rel=1e-4)


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_resume_in_the_middle_of_a_rollout_continues_to_the_same_losses(algorithm, saved_model, tmp_path):
    """Rollouts serve 2 x 2 updates, and the checkpoint after update 3 lies in the middle of the first."""
    settings = {"num_iterations": 2, "save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    whole = algorithm(saved_model, tmp_path / "whole", **settings)
    whole.train()
    resumed = algorithm(saved_model, tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for key in ("loss", "reward", "critic/loss"):
        assert history(resumed, key) == pytest.approx(history(whole, key), abs=1e-6)
    assert resumed.state.global_step == 6
    for trainer in (whole, resumed):
        trainer.save_model()
    files = ["model.safetensors"] + (["critic.safetensors"] if algorithm is ppo else [])
    for file in files:
        a, b = (load_file(tmp_path / run / file) for run in ("whole", "resumed"))
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=0)


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


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_a_compiled_policy_learns_as_a_plain_one(algorithm, saved_model, tmp_path):
    losses = []
    for compiled in ({}, {"torch_compile": True, "torch_compile_backend": "eager"}):
        trainer = algorithm(saved_model, tmp_path, max_steps=2, **compiled)
        trainer.train()
        losses.append(history(trainer, "loss") + history(trainer, "reward"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_dataset_smaller_than_one_rollout(saved_model, tmp_path):
    few = {"train_dataset": PROMPTS.select(range(7))}
    with pytest.raises(ValueError, match="7 prompts, but one rollout takes 8"):
        ppo(saved_model, tmp_path, trainer_kwargs=few)


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
