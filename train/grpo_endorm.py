"""GRPO with the endogenous reward: groups of responses, judged by the frozen copy that also anchors the policy.

    accelerate launch train/grpo_endorm.py --config configs/demo/grpo.yaml
    accelerate launch train/grpo_endorm.py --config configs/math/grpo_qwen2.5_math_7b.yaml --learning_rate 5e-7

Every field of the recipe can be given on the command line; --help lists them.
"""

from train.grpo_trainer import EndoGRPOTrainer
from train.run import run


def main() -> None:
    run("grpo", EndoGRPOTrainer)


if __name__ == "__main__":
    main()
