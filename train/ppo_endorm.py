"""PPO with the endogenous reward: a language model improves itself with the reward inside its own frozen copy.

    accelerate launch train/ppo_endorm.py --config configs/demo/ppo.yaml
    accelerate launch train/ppo_endorm.py --config configs/math/ppo_qwen2.5_math_7b.yaml --learning_rate 5e-7

Every field of the recipe can be given on the command line; --help lists them.
"""

from train.ppo_trainer import PPOTrainer
from train.run import run


def main() -> None:
    run("ppo", PPOTrainer)


if __name__ == "__main__":
    main()
