"""Time rollouts and their updates by phase: a recipe on its own model, or on random weights of a published shape.

    python scripts/time_rollouts.py --config configs/math/ppo_qwen2.5_math_1.5b_lora.yaml --preset 1.5b \
      --prompt_tokens 512 --max_completion_length 512 --output outputs/step_1.5b_lora.json

Every other flag is a field of the recipe. Rollouts that warm up come first. On a GPU the peak of its memory is put
beside the plan's (scripts/plan.py). --plain_trl takes TRL's own GRPOTrainer with a reward model of the policy's size,
for comparison; scripts/bench/bench_step.py runs everything side by side.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification
from trl import GRPOConfig, GRPOTrainer, ModelConfig, get_peft_config, get_quantization_config

from train.cost.memory import GIB, make_plan, read_shape
from train.cost.shapes import PRESETS, write_inputs
from train.cost.step_clock import GENERATION, StepClock, model_bytes
from train.cost.stopwatch import measurement, peak_memory
from train.grpo_trainer import EndoGRPOConfig, EndoGRPOTrainer
from train.ppo_trainer import PPOConfig, PPOTrainer
from train.prompts import DataArguments, load_prompts
from train.recipe import RecipeArguments, parse_recipe, read_recipe
from train.recipe_rewards import RewardArguments, build_rewards
from train.run import load_tokenizer, model_init_kwargs
from train.watches import WatchArguments


def plain_trl(model, args, tokenizer, **kwargs) -> GRPOTrainer:
    """TRL's own GRPO with a reward model as large as the policy: a sequence classifier on its backbone."""
    reward = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1, dtype=args.model_init_kwargs["dtype"]
    )
    return GRPOTrainer(model, reward, args, processing_class=tokenizer, reward_processing_classes=tokenizer, **kwargs)


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """This script's own flags, and those of the recipe's fields."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the recipe")
    shapes = ["recipe", *PRESETS]
    parser.add_argument("--preset", choices=shapes, default="recipe", help="the recipe's model and data, or a shape")
    parser.add_argument("--vocab_size", type=int, default=151936, help="of a random model")
    parser.add_argument(
        "--prompt_tokens", type=int, default=512, help="about as many in each prompt of a random model"
    )
    parser.add_argument("--warm_up", type=int, default=1, help="rollouts that are not timed")
    parser.add_argument("--rollouts", type=int, default=2, help="rollouts to time")
    parser.add_argument("--plain_trl", action="store_true", help="TRL's GRPOTrainer with a separate reward model")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    return parser.parse_known_args()


def read_fields(own: argparse.Namespace, given: list[str], ppo: bool, scratch: str) -> tuple:
    """Trainer, model, data and reward arguments of the recipe, with the flags that a random model needs."""
    sys.argv = [sys.argv[0], "--config", own.config, "--output_dir", scratch, "--save_strategy", "no"]
    if own.preset != "recipe":
        sys.argv += ["--dataset_name", f"{scratch}/prompts.jsonl", "--model_name_or_path", scratch]
        sys.argv += ["--max_prompt_length", str(8 * own.prompt_tokens), "--prompt_format", "text"]
        sys.argv += ["--eos_token", "<|endoftext|>"]
    sys.argv += given
    config = PPOConfig if ppo else GRPOConfig if own.plain_trl else EndoGRPOConfig
    types = (config, ModelConfig, DataArguments, RewardArguments, WatchArguments)
    args, model, data, reward, *_ = parse_recipe(*types, RecipeArguments)
    args.eval_strategy = "no"
    if own.preset != "recipe":
        prompts = 2 * args.per_device_train_batch_size * args.steps_per_generation
        write_inputs(Path(scratch), own.preset, own.vocab_size, own.prompt_tokens, model.dtype or "float32", prompts)
    args.model_init_kwargs = model_init_kwargs(model)
    return args, model, data, reward


def make_trainer(args, model, data, reward, ppo: bool, plain: bool):
    """The trainer of the recipe, or TRL's own GRPO beside a reward model."""
    tokenizer = load_tokenizer(model, reward.eos_token)
    dataset, _ = load_prompts(data, tokenizer, args.chat_template_kwargs)
    common = {"train_dataset": dataset, "peft_config": get_peft_config(model)}
    common["quantization_config"] = get_quantization_config(model)
    if plain:
        return plain_trl(model.model_name_or_path, args, tokenizer, **common)
    common |= {"frozen_dtype": reward.frozen_dtype, "batch_tokens": reward.frozen_batch_tokens}
    trainer = PPOTrainer if ppo else EndoGRPOTrainer
    return trainer(model.model_name_or_path, build_rewards(reward), args, processing_class=tokenizer, **common)


def time_phases(clock: StepClock, trainer, ppo: bool, plain: bool) -> tuple[dict, list]:
    """Put the clock into a trainer.

    Returns:
        its networks by name, and optimizers beside the trainer's own.
    """
    clock.time(trainer, "_generate", GENERATION)
    clock.time(trainer, "_generate_and_score_completions", "whole rollout")
    policy_forward = "_get_per_token_logps_and_entropies"
    clock.time(trainer, policy_forward, "policy log-probs", during="whole rollout")
    networks, optimizers = {"policy": trainer.model}, []
    if plain:
        clock.time(trainer, "_calculate_rewards", "reward model")
        networks |= {"reference": trainer.ref_model, "reward": trainer.reward_funcs[0]}
    else:
        clock.time(trainer.frozen_base, "score", "frozen forward")
        for reward_func in trainer.reward_funcs:
            clock.time(reward_func, "_call", f"{reward_func.__name__} after it")
        networks["frozen base"] = trainer.frozen_base.model
    if ppo:
        clock.time(trainer.critic, "fit", "critic")
        networks["critic"] = trainer.critic.critic
        optimizers = [trainer.critic.optimizer]
    networks = {name: network for name, network in networks.items() if network is not None}
    for name, network in networks.items():
        if name != "critic" and (name == "policy" or network is not trainer.model):
            clock.count(network, name)
    trainer.add_callback(clock)
    return networks, optimizers


def beside_the_plan(shape, fields: dict, prompt_tokens: int) -> dict:
    """GiB of a GPU at the peak, measured and planned, and the plan's parts."""
    recipe = fields | {"max_prompt_length": prompt_tokens}
    plan = make_plan(shape, recipe, "single", 1, torch.cuda.get_device_properties(0).total_memory)
    found = {"measured peak": torch.cuda.max_memory_allocated() / GIB, "planned peak": plan.peak / GIB}
    return found | {"plan": {part: round(size / GIB, 3) for part, size in plan.parts.items()}}


def main() -> None:
    """Command line entry."""
    own, given = arguments()
    made, held = measurement(vars(own) | {"output": None}), peak_memory()
    algorithm = read_recipe(Path(own.config))["algorithm"]
    ppo = algorithm == "ppo"
    with tempfile.TemporaryDirectory() as scratch:
        args, model, data, reward = read_fields(own, given, ppo, scratch)
        responses = args.per_device_train_batch_size * args.steps_per_generation
        updates = max(1, args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps)
        args.max_steps = updates * (own.warm_up + own.rollouts)
        trainer = make_trainer(args, model, data, reward, ppo, own.plain_trl)
        clock = StepClock(updates, own.warm_up)
        networks, optimizers = time_phases(clock, trainer, ppo, own.plain_trl)
        trainer.train()
        shape = read_shape(model.model_name_or_path)

    result = made | clock.results(responses)
    seconds = result["seconds"]
    seconds["update"] = round(seconds["whole"] - seconds["whole rollout"], 5)
    tokens = trainer.state.num_input_tokens_seen / (responses * (own.warm_up + own.rollouts))
    now = peak_memory()
    result |= {
        "parameters": shape.parameters,
        "responses a rollout": responses,
        "updates a rollout": updates,
        "mean prompt and response tokens": tokens,
        "model_bytes": model_bytes(networks.values(), [trainer.optimizer, *optimizers]),
        "peak_bytes": None if now is None else now - held,
    }
    first = trainer.state.log_history[0]  # before any update: what lies above 0 is rounding
    result["KL of the first step, nats a token"] = {name: first[name] for name in ("kl/k1", "kl/k3") if name in first}
    if torch.cuda.is_available() and not own.plain_trl:
        fields = {**vars(args), **vars(model), **vars(data), **vars(reward), "algorithm": algorithm}
        result["GiB"] = beside_the_plan(shape, fields, own.prompt_tokens)
    print(json.dumps(result, indent=2))
    if own.output:
        own.output.parent.mkdir(parents=True, exist_ok=True)
        own.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
