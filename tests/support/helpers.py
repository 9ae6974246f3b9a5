"""Trainers on tiny models, in this process, in a second or two."""

from datasets import Dataset
from tiny_models import tiny_tokenizer
from trl import GRPOConfig

import train.ppo_trainer
from rewards import EndoRM
from train.grpo_trainer import EndoGRPOTrainer
from train.ppo_trainer import PPOConfig, PPOTrainer

COMMON = {
    "per_device_train_batch_size": 4,
    "steps_per_generation": 2,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}
PROMPTS = Dataset.from_dict({"prompt": ["ab", "cde", "f", "gh=", "ijk", "l", "mn", "o+p"] * 4})


def ppo(model, folder, rewards=None, trainer_kwargs=None, **changes):
    args = PPOConfig(output_dir=str(folder), **(COMMON | {"max_steps": 2} | changes))
    rewards = rewards or [EndoRM()]
    kwargs = {"train_dataset": PROMPTS, "processing_class": tiny_tokenizer()} | (trainer_kwargs or {})
    return PPOTrainer(model, rewards, args, **kwargs)


def grpo(model, folder, cls=EndoGRPOTrainer, rewards=None, trainer_kwargs=None, **changes):
    settings = COMMON | {"max_steps": 2, "num_generations": 4, "beta": 0.01} | changes
    rewards = rewards or [EndoRM()]
    args = GRPOConfig(output_dir=str(folder), **settings)
    kwargs = {"train_dataset": PROMPTS, "processing_class": tiny_tokenizer()} | (trainer_kwargs or {})
    return cls(model, rewards, args, **kwargs)


def trained(trainer):
    trainer.train()
    return trainer


def history(trainer, key):
    return [row[key] for row in trainer.state.log_history if key in row]


def capture(trainer):
    """Run one rollout and return what went into GAE: its inputs and the trainer's scores."""
    seen = {}
    module = train.ppo_trainer
    real = module.gae

    def spy(rewards, values, last_values, mask, gamma, lam):
        seen.update(rewards=rewards.clone(), values=values, last_values=last_values, mask=mask)
        return real(rewards, values, last_values, mask, gamma, lam)

    real_rewards = trainer._calculate_rewards

    def keep(*args):
        result = real_rewards(*args)
        seen["rollout"] = trainer.rollout
        seen["scores"], seen["ids"] = trainer.rollout.frozen, args[3]
        return result

    trainer._calculate_rewards = keep
    module.gae = spy
    try:
        trainer.train()
    finally:
        module.gae = real
    return seen


def length(completion_ids, scale=1.0, **_):
    """A reward function with a setting."""
    return [scale * len(ids) for ids in completion_ids]
