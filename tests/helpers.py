"""A PPO trainer on a tiny model, for tests of what happens around training."""

from conftest import tiny_tokenizer
from datasets import Dataset

from train.ppo_trainer import PPOConfig, PPOTrainer

COMMON_PPO = {
    "per_device_train_batch_size": 4,
    "max_completion_length": 4,
    "kl_coef": 0.02,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}


def start_ppo(model, folder, rewards, **changes):
    args = PPOConfig(output_dir=str(folder), **(COMMON_PPO | changes))
    prompts = Dataset.from_dict({"prompt": [f"{i}+{i}=" for i in range(16)]})
    return PPOTrainer(model, rewards, args, train_dataset=prompts, processing_class=tiny_tokenizer())
