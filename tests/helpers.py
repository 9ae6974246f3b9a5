"""Trainers on tiny models, in this process, in a second or two."""

from conftest import tiny_tokenizer
from datasets import Dataset
from trl import GRPOConfig

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


def grpo(model, folder, cls=EndoGRPOTrainer, rewards=None, **changes):
    settings = COMMON | {"max_steps": 2, "num_generations": 4, "beta": 0.01} | changes
    rewards = rewards or [EndoRM()]
    args = GRPOConfig(output_dir=str(folder), **settings)
    return cls(model, rewards, args, train_dataset=PROMPTS, processing_class=tiny_tokenizer())


def trained(trainer):
    trainer.train()
    return trainer


def history(trainer, key):
    return [row[key] for row in trainer.state.log_history if key in row]
