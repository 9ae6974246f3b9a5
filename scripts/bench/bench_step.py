"""One whole RL step - generate, score, advantages, update - of ours and of what one would use instead, side by side.

    python scripts/bench/bench_step.py --output scripts/bench/results/step_demo.json            # the demo's base
    python scripts/bench/bench_step.py --preset capitals --rollouts 2 --warm_up 1               # the real demo
    python scripts/bench/bench_step.py --preset tiny --batch 16 --prompt_tokens 64 --response_tokens 32

Contenders: our PPO (one response a prompt, or 8) and GRPO, with all weights and with LoRA, and with what rows begin
with alike read apart; TRL's GRPOTrainer with a reward model as large as the policy; PPOTrainer of TRL 1.12, the last
that had one, with the same reward model and with EndoRM as reward model. Same model, prompts, lengths, epochs and
minibatches. Every contender is a process of its own, several times over, in an order that changes from round to round.
TRL 1.12 is put into a folder beside this environment, all else is shared; in the real demo it has no part. Every round
also times the bare matrix products of each phase for rows that are read apart, its limit.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from step_limits import StepLimits, median_limits
from step_table import draw_steps, step_table
from tqdm.auto import tqdm

from rewards.reporting.stages import run_stage
from train.cost.legacy_trl import FOLDER, legacy_environment
from train.cost.shapes import PRESETS, write_inputs
from train.cost.stopwatch import measurement
from train.tasks.capitals import write_splits

REAL = "capitals"  # the preset of the demo on the real model

SCRIPTS = Path(__file__).resolve().parents[1]
LORA = ["--use_peft", "true", "--lora_r", "16", "--lora_alpha", "32", "--lora_target_modules", "all-linear"]


def contenders(args, folder: Path, data: Path) -> dict[str, list[str]]:
    """The command of each contender, without its number of rollouts and output."""
    both = {"model_name_or_path": folder, "dataset_name": data, "disable_tqdm": "true", "logging_steps": 1000}
    fields = both | {
        "per_device_train_batch_size": args.batch // args.minibatches,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": args.minibatches,
        "num_iterations": args.epochs,
        "max_completion_length": args.response_tokens,
        "max_prompt_length": 8 * args.prompt_tokens,
        "bf16": str(args.bf16).lower(),
        "use_cpu": "false" if args.bf16 else "true",
    }
    name = ""
    if args.preset == REAL:
        fields, name = both | {"bf16": str(args.bf16).lower()}, "capitals_"
    elif args.preset != "demo":
        fields["eos_token"] = "<|endoftext|>"
    ours = [sys.executable, str(SCRIPTS / "time_rollouts.py"), "--reward_funcs", "endorm", "--reward_weights", "1.0"]
    ours += [str(x) for name, value in fields.items() for x in (f"--{name}", value)]
    ppo, grpo = ([*ours, "--config", str(SCRIPTS.parent / f"configs/demo/{name}{a}.yaml")] for a in ("ppo", "grpo"))
    old = [sys.executable, str(SCRIPTS / "bench/bench_trl_ppo.py"), "--model", str(folder), "--dataset", str(data)]
    old += ["--batch", str(args.batch), "--epochs", str(args.epochs), "--minibatches", str(args.minibatches)]
    old += ["--max_completion_length", str(args.response_tokens)]
    found = {
        "ours: PPO": ppo,
        "ours: PPO, frozen base in bf16": [*ppo, "--frozen_dtype", "bfloat16"],
        "ours: PPO, LoRA": [*ppo, *LORA],
        "ours: GRPO": grpo,
        "ours: GRPO, LoRA": [*grpo, *LORA],
        "ours: PPO, 8 responses a prompt": [*ppo, "--num_generations", "8"],
        "ours: PPO, beginnings apart": [*ppo, "--share_prefixes", "false"],
        "ours: GRPO, beginnings apart": [*grpo, "--share_prefixes", "false"],
        "TRL GRPO + reward model": [*grpo, "--plain_trl"],
        "TRL 1.12 PPO + reward model": [*old, "--reward", "model"],
        "TRL 1.12 PPO + EndoRM": [*old, "--reward", "endorm"],
    }
    return {n: c for n, c in found.items() if args.preset != REAL or not n.startswith("TRL 1.12")}


def inputs(args, scratch: Path) -> tuple[Path, Path]:
    """The model's folder and the file of its prompts, made where they are missing."""
    if args.preset == REAL:
        data = scratch / "data"
        write_splits(data)
        return args.real_model, data / "train.jsonl"
    if args.preset != "demo":
        write_inputs(scratch, args.preset, args.vocab_size, args.prompt_tokens, "float32", 2 * args.batch)
        return scratch, scratch / "prompts.jsonl"
    if not args.demo_base.exists():
        make_base = str(SCRIPTS / "experiments/arithmetic/make_base.py")
        run_stage([sys.executable, make_base, "--output", str(args.demo_base)], scratch / "base.txt")
    return args.demo_base, args.demo_base.parent / "data/train.jsonl"


def timed_round(args, names: Sequence[str], commands: dict, scratch: Path) -> Iterator[tuple[str, dict]]:
    """Every contender once, in the order given: its name and what it measured."""
    for name in names:
        output = scratch / "run.json"
        command = [*commands[name], "--warm_up", str(args.warm_up), "--rollouts", str(args.rollouts)]
        env = legacy_environment(args.trl) if name.startswith("TRL 1.12") else None
        try:
            run_stage([*command, "--output", str(output)], scratch / "log.txt", env, threads=None)
        except SystemExit as error:
            raise SystemExit(f"{name}: {error}") from error
        yield name, json.loads(output.read_text(encoding="utf-8"))
        output.unlink()


def summary(results: list[dict], batch: int) -> dict:
    """What the file says of a contender, from what it measured in each round."""
    rollouts = [s for r in results for s in r["rollout_seconds"]]
    phases = {phase: [r["seconds"][phase] for r in results] for phase in results[0]["seconds"]}
    whole = statistics.median(rollouts)
    return {
        "versions": {"trl": results[0]["versions"]["trl"]},
        "seconds": {phase: round(statistics.median(x), 5) for phase, x in phases.items()} | {"whole": round(whole, 5)},
        "rollout_seconds": rollouts,
        "samples_per_second": round(batch / whole, 2),
        "mean prompt and response tokens": results[0].get("mean prompt and response tokens"),
        "passes": results[0]["passes"],
        "tokens_read": results[0].get("tokens_read", {}),
        "model_bytes": results[0]["model_bytes"],
        "peak_bytes": results[0]["peak_bytes"] and statistics.median(r["peak_bytes"] for r in results),
    }


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--preset", choices=["demo", REAL, *PRESETS], default="demo", help="the small demo, the real one, or a shape"
    )
    parser.add_argument("--demo_base", type=Path, default=Path("outputs/demo/base"), help="made here where missing")
    parser.add_argument("--real_model", type=Path, default=Path("outputs/SmolLM2-135M-Instruct"))
    parser.add_argument("--vocab_size", type=int, default=151936, help="of a random model of a shape")
    parser.add_argument("--batch", type=int, default=128, help="responses of a rollout")
    parser.add_argument("--epochs", type=int, default=2, help="PPO epochs")
    parser.add_argument("--minibatches", type=int, default=2, help="updates an epoch")
    parser.add_argument("--prompt_tokens", type=int, default=64, help="of a prompt for a random model")
    parser.add_argument("--response_tokens", type=int, default=8, help="most tokens of a response")
    parser.add_argument("--rounds", type=int, default=3, help="times that every contender runs")
    parser.add_argument("--warm_up", type=int, default=2, help="rollouts of each run that are not timed")
    parser.add_argument("--rollouts", type=int, default=20, help="rollouts of each run that are timed")
    parser.add_argument("--bf16", action="store_true", help="autocast to bf16")
    parser.add_argument("--only", nargs="+", help="names of contenders, or parts of them")
    parser.add_argument("--trl", type=Path, default=FOLDER, help="folder for TRL 1.12, made where missing")
    parser.add_argument("--output", type=Path, help="JSON file; a figure is drawn beside it")
    args = parser.parse_args()
    if args.preset == REAL:  # what its recipes say
        args.batch, args.epochs, args.minibatches, args.response_tokens = 64, 2, 2, 24
    known = contenders(args, Path(), Path())
    parts = args.only or [""]
    chosen = [n for n in known if any(part == n or (part not in known and part in n) for part in parts)]
    if not chosen:
        parser.error(f"--only {' '.join(args.only)} fits none of: {', '.join(known)}.")

    not_settings = ("output", "trl", "demo_base", "real_model")
    made = measurement({k: v for k, v in vars(args).items() if k not in not_settings})
    order, limits = random.Random(0), []
    runs: dict[str, list[dict]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=args.rounds * len(chosen), desc="contenders") as bar:
        scratch = Path(folder)
        model, data = inputs(args, scratch)
        commands = contenders(args, model, data)
        micro_batch = 16 if args.preset == REAL else args.batch // args.minibatches
        dtype = torch.bfloat16 if args.bf16 else torch.float32
        bare = StepLimits(model, data, args.batch, micro_batch, args.epochs, dtype)
        for _ in range(args.rounds):
            for name, found in timed_round(args, order.sample(chosen, len(chosen)), commands, scratch):
                runs[name].append(found)
                bar.update()
            tokens = next(filter(None, (r[0].get("mean prompt and response tokens") for r in runs.values())), None)
            limits.append(bare.measure(tokens or bare.prompt + args.response_tokens, args.response_tokens))

    result = {"kind": "step", **made, "contenders": {n: summary(found, args.batch) for n, found in runs.items()}}
    result["limits"] = median_limits(limits)
    print(step_table(result))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        draw_steps(result, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
