"""Who follows a prompt from the data loader to the loss reads few files: a trace of one PPO step."""

import sys
from pathlib import Path

from helpers import ppo
from tiny_models import ROOT, tiny_model

WAY = ["ppo_trainer", "grpo_trainer", "rollout", "policy_forward", "reward_adapter", "ppo_math", "critic"]


def test_a_ppo_step_reads_few_files_of_train(tmp_path):
    trainer = ppo(tiny_model(initializer_range=0.2), tmp_path, max_steps=2, steps_per_generation=1)
    seen: list[Path] = []
    step = trainer.training_step

    def listen(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        function = frame.f_code.co_name  # a lambda is TRL's question whether it runs on a CPU
        if event == "call" and function != "<lambda>" and path.is_relative_to(ROOT / "train"):
            seen.append(path)

    def traced(*args, **kwargs):
        before = sys.getprofile()
        sys.setprofile(listen if trainer.state.global_step else before)  # the first step checks the policy as well
        try:
            return step(*args, **kwargs)
        finally:
            sys.setprofile(before)

    trainer.training_step = traced
    trainer.train()
    assert list(dict.fromkeys(path.stem for path in seen)) == WAY  # in the order in which they are entered
