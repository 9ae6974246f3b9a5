"""Time a rollout and its updates by phase, for a recipe and a model of a published shape with random weights.

    python scripts/bench_step.py --config configs/math/ppo_qwen2.5_math_1.5b_lora.yaml --preset 1.5b \
      --prompt_tokens 512 --max_completion_length 512 --output scripts/bench_results/step_1.5b_lora.json

Every other flag is a field of the recipe. One rollout warms up, the next are timed. On a GPU the peak of its memory is
put beside the plan's (scripts/plan.py).
"""

import argparse
import importlib.util
import json
import platform
import random
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, ModelConfig, get_peft_config, get_quantization_config

from train.grpo_trainer import EndoGRPOTrainer
from train.math_data import DataArguments, load_prompts
from train.memory_plan import GIB, make_plan, read_shape
from train.ppo_trainer import PPOConfig, PPOTrainer
from train.random_models import PRESETS, random_model
from train.recipe import RewardArguments, build_rewards, load_tokenizer, model_init_kwargs, parse_recipe
from train.tracking import git_commit, versions
from train.watches import WatchArguments

ROOT = Path(__file__).resolve().parents[1]


class Clock(TrainerCallback):
    """Seconds by phase, from the end of the warm-up on."""

    def __init__(self, warm_up: int):
        self.warm_up, self.seconds, self.start = warm_up, defaultdict(float), 0.0

    def now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def time(self, owner, name: str, phase: str) -> None:
        """Count the calls of a method as `phase`."""
        method = getattr(owner, name)

        def timed(*args, **kwargs):
            start = self.now()
            result = method(*args, **kwargs)
            self.seconds[phase] += self.now() - start
            return result

        setattr(owner, name, timed)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.warm_up:
            self.seconds.clear()
            self.start = self.now()

    def on_train_end(self, args, state, control, **kwargs):
        self.seconds["whole"] = self.now() - self.start


def write_inputs(folder: Path, preset: str, vocab_size: int, prompt_tokens: int, dtype: str, prompts: int) -> None:
    """A model, the rehearsal model's tokenizer and random prompts of the project's words, in a folder."""
    spec = importlib.util.spec_from_file_location("rehearsal", ROOT / "scripts" / "make_rehearsal_model.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    module.make_rehearsal_model(list(module.project_texts()), folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random_model(preset, vocab_size, getattr(torch, dtype), device=device).save_pretrained(folder)
    tokenizer, rng = AutoTokenizer.from_pretrained(folder), random.Random(0)
    words = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    texts = (tokenizer.decode(rng.choices(words, k=prompt_tokens)) for _ in range(prompts))
    rows = "".join(json.dumps({"prompt": text}) + "\n" for text in texts)
    (folder / "prompts.jsonl").write_text(rows, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the recipe")
    parser.add_argument("--preset", choices=PRESETS, default="tiny", help="shape of the model; 1.5b and 7b for GPUs")
    parser.add_argument("--vocab_size", type=int, default=151936, help="of the model")
    parser.add_argument("--prompt_tokens", type=int, default=512, help="about as many in each prompt")
    parser.add_argument("--rollouts", type=int, default=2, help="rollouts to time, after one that warms up")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    own, fields = parser.parse_known_args()
    command = " ".join(["python", *sys.argv])
    ppo = "beta:" not in Path(own.config).read_text(encoding="utf-8")

    with tempfile.TemporaryDirectory() as scratch:
        sys.argv = [sys.argv[0], "--config", own.config, "--dataset_name", f"{scratch}/prompts.jsonl"]
        sys.argv += ["--prompt_format", "text", "--max_prompt_length", str(8 * own.prompt_tokens), "--eos_token"]
        sys.argv += [
            "<|endoftext|>",
            "--output_dir",
            scratch,
            "--save_strategy",
            "no",
            "--model_name_or_path",
            scratch,
            *fields,
        ]
        types = (PPOConfig if ppo else GRPOConfig, ModelConfig, DataArguments, RewardArguments, WatchArguments)
        args, model, data, reward, _ = parse_recipe(*types)
        args.eval_strategy = "no"
        rollout = args.per_device_train_batch_size * args.steps_per_generation
        dtype = model.dtype or "float32"
        write_inputs(Path(scratch), own.preset, own.vocab_size, own.prompt_tokens, dtype, 2 * rollout)
        updates = max(1, args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps)
        args.max_steps = updates * (1 + own.rollouts)
        args.model_init_kwargs = model_init_kwargs(model)
        tokenizer = load_tokenizer(model, reward.eos_token)
        trainer = (PPOTrainer if ppo else EndoGRPOTrainer)(
            model=scratch,
            reward_funcs=build_rewards(reward),
            args=args,
            frozen_dtype=reward.frozen_dtype,
            batch_tokens=reward.frozen_batch_tokens,
            train_dataset=load_prompts(data, tokenizer)[0],
            processing_class=tokenizer,
            peft_config=get_peft_config(model),
            quantization_config=get_quantization_config(model),
        )
        clock = Clock(updates)
        clock.time(trainer, "_generate", "generation")
        clock.time(trainer.frozen_base, "score", "frozen forward")
        clock.time(trainer, "_generate_and_score_completions", "whole rollout")
        if ppo:
            clock.time(trainer, "_policy_log_probs", "policy log-probs of the rollout")
            clock.time(trainer.critic, "fit", "critic")
        trainer.add_callback(clock)
        trainer.train()
        shape = read_shape(scratch)

    seconds = {name: round(s / own.rollouts, 4) for name, s in clock.seconds.items()}
    seconds["update: forward, backward, optimizer"] = round(seconds["whole"] - seconds["whole rollout"], 4)
    recipe = {**vars(args), **vars(model), **vars(data), **vars(reward), "algorithm": "ppo" if ppo else "grpo"}
    recipe["max_prompt_length"] = own.prompt_tokens
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    result = {
        "command": command,
        "commit": git_commit(),
        "versions": versions(),
        "device": device,
        "parameters": shape.parameters,
        "responses a rollout": rollout,
        "updates a rollout": updates,
        "mean prompt and response tokens": trainer.state.num_input_tokens_seen / (rollout * (1 + own.rollouts)),
        "seconds a rollout": seconds,
    }
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        plan = make_plan(shape, recipe, "single", 1, memory)
        result["GiB"] = {"measured peak": torch.cuda.max_memory_allocated() / GIB, "planned peak": plan.peak / GIB}
        result["GiB"]["plan"] = {part: round(size / GIB, 3) for part, size in plan.parts.items()}
    print(json.dumps(result, indent=2))
    if own.output:
        own.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
