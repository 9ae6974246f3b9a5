"""The steps of gpu_suite.sh, which sets the environment: scoring, steps by phase, KL floor, sharding, compilation.

bash scripts/bench/gpu_suite.sh --minutes 25
bash scripts/bench/gpu_suite.sh --small            a rehearsal, also on a CPU
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH
from rewards.reporting.tables import markdown_table
from train.tasks.rehearsal_model import example_problems, rehearsal_models

SHARDED = ("single", "zero2", "zero3", "fsdp2")  # launchers, here with one process
PHASES = ("generation", "policy log-probs", "frozen forward", "critic", "update", "whole")


@dataclass(frozen=True)
class Step:
    """One measurement.

    Attributes:
        name: of its JSON file.
        what: of its row.
        command: its words after `python`, without --output.
        small: those of the rehearsal.
        headline: the result -> what the table says of it.
    """

    name: str
    what: str
    command: Sequence[str]
    small: Sequence[str]
    headline: Any


def words(text: str) -> list[str]:
    """A command line as its words."""
    return text.split()


def scoring_headline(result: Mapping) -> str:
    """Ours beside the limit and the rivals, and the memory over the weights."""
    over = ", ".join(f"{row['over ours']:.2f} x {name}" for name, row in result["summary"].items() if name != "ours")
    memory = result["extra_memory_mib"]["ours"]
    beside = "" if memory is None else f"; {memory:,.0f} MiB over the weights"
    return f"{result['summary']['ours']['median']:.3f} s; times of others over ours: {over}{beside}"


def step_headline(result: Mapping) -> str:
    """Seconds by phase, memory beside the plan, and the KL before the first update."""
    seconds = ", ".join(f"{name} {result['seconds'][name]:.2f}" for name in PHASES if name in result["seconds"])
    kl = ", ".join(f"{name} {value:.2g}" for name, value in result["KL of the first step, nats a token"].items())
    memory = result.get("GiB")
    beside = f"; peak {memory['measured peak']:.1f} GiB, planned {memory['planned peak']:.1f}" if memory else ""
    return f"{seconds} s{beside}; first step: {kl}"


def compile_headline(result: Mapping) -> str:
    """Times over the plain ones, and what the first call costs."""
    rows, first = result["summary"], result["first_call_seconds"]
    names = [name for name in rows if "," in name]
    plain = {name: name.partition(",")[0] for name in names}
    times = ", ".join(
        f"{name} {rows[name][f'over {plain[name]}']:.2f} x plain ({first[name]:.0f} s once)" for name in names
    )
    return f"{times}; deviation {result['largest_deviation_nats']:.1g} nats"


def sharding_headline(result: Mapping) -> str:
    """Seconds a step and the distance of the first step from the unsharded one."""
    return "; ".join(
        f"{row['launcher']} {row['seconds a step']:.2f} s, loss off by {row['difference of loss']:.0e}"
        if "failed" not in row
        else f"{row['launcher']} FAILED: {row['failed']}"
        for row in result["launchers"]
    )


def steps() -> list[Step]:
    """All of them, the most wanted first."""
    score, rollouts = "scripts/bench/bench_scoring.py", "scripts/time_rollouts.py"
    tiny_score = words(f"{score} --preset tiny --vocab_size 4096 --batch 4 --prompt_tokens 16 --response_tokens 16")
    tiny_score += words("--repeats 2")
    shape = "--batch 16 --prompt_tokens 512 --response_tokens 512 --dtype bfloat16"
    lora, full = "configs/math/ppo_qwen2.5_math_1.5b_lora.yaml", "configs/math/ppo_qwen2.5_math_7b.yaml"
    small = "--vocab_size 512 --prompt_tokens 16 --max_completion_length 8 --per_device_train_batch_size 2"
    small += " --steps_per_generation 2 --gradient_accumulation_steps 1"
    if not torch.cuda.is_available():
        small += " --use_cpu true --bf16 false"
    batch = "--prompt_tokens 512 --max_completion_length 512 --per_device_train_batch_size 8"
    batch += " --steps_per_generation 4 --gradient_accumulation_steps 2"
    compiled = "scripts/bench/bench_compile.py"
    tiny_compiled = (
        f"{compiled} --preset tiny --vocab_size 512 --batch 2 --prompt_tokens 8 --response_tokens 8 --repeats 2"
    )
    here = "scripts/bench/gpu_suite.py --only_sharding"

    def timed(name: str, what: str, recipe: str, preset: str) -> Step:
        command, rehearsal = f"{rollouts} --config {recipe} --preset", f"{recipe} --preset tiny {small}"
        return Step(
            name, what, words(f"{command} {preset} {batch}"), words(f"{rollouts} --config {rehearsal}"), step_headline
        )

    return [
        Step(
            "scoring_7b",
            "scoring, 7B",
            words(f"{score} --preset 7b {shape} --repeats 3"),
            tiny_score,
            scoring_headline,
        ),
        timed("step_1.5b_lora", "a PPO step, 1.5B with LoRA", lora, "1.5b"),
        timed("step_0.5b_full", "a PPO step, 0.5B, all weights", full, "0.5b"),
        Step("scoring_1.5b", "scoring, 1.5B", words(f"{score} --preset 1.5b {shape}"), tiny_score, scoring_headline),
        Step(
            "sharding", "entry scripts, sharded, one process", words(here), words(f"{here} --small"), sharding_headline
        ),
        Step(
            "compile_1.5b",
            "torch.compile, 1.5B",
            words(f"{compiled} --preset 1.5b {shape.replace('--response_tokens 512', '--response_tokens 128')}"),
            words(tiny_compiled),
            compile_headline,
        ),
    ]


def sharding(small: bool, folder: Path) -> dict:
    """PPO through the entry script under each launcher that a GPU takes, three steps; a CPU rehearses two of them."""
    model, problems = rehearsal_models(folder / "models")[0], example_problems(folder / "problems.jsonl")
    cuda, rows = torch.cuda.is_available(), []
    launchers = SHARDED if cuda else ("single", "cpu_zero2")
    text = "--per_device_train_batch_size 4 --gradient_accumulation_steps 1 --steps_per_generation 1 --max_steps 3"
    text += f" --max_completion_length {8 if small else 64} --eval_strategy no --top_k 1"
    size = words(text + ("" if cuda else " --use_cpu true --bf16 false --frozen_dtype float32"))
    for launcher in launchers:
        output = folder / launcher
        command = [*LAUNCH, *words(f"--config_file configs/accelerate/{launcher}.yaml --num_processes 1")]
        command += words("--main_process_port 0 train/ppo_endorm.py --config configs/math/ppo_qwen2.5_math_7b.yaml")
        command += ["--model_name_or_path", model, "--dataset_name", problems, "--output_dir", str(output), *size]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            rows.append({"launcher": launcher, "failed": (done.stderr.strip() or "no word").splitlines()[-1][:200]})
            continue
        lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        logged = [row for row in map(json.loads, lines) if "loss" in row]
        loss = logged[0]["loss"]
        first = next((row["loss"] for row in rows if "loss" in row), loss)  # that of the unsharded run
        seconds = (logged[-1]["time"] - logged[0]["time"]) / (len(logged) - 1)
        facts = {"launcher": launcher, "seconds a step": seconds, "difference of loss": abs(loss - first)}
        rows.append(facts | {"loss": loss})
    return {"kind": "sharding", "launchers": rows} | record({"small": small})


def run(step: Step, output: Path, small: bool, seconds: float) -> str:
    """What came of a step: "there", "ok", "FAILED" or "out of time"; its log lies beside its result."""
    file, log = output / f"{step.name}.json", output / f"{step.name}.log"
    if file.is_file():
        return "there"
    if seconds <= 0:
        return "out of time"
    command = [sys.executable, *(step.small if small else step.command), "--output", str(file)]
    with log.open("w") as out:
        try:
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=seconds)
        except subprocess.TimeoutExpired:
            return "out of time"
    return "ok" if done.returncode == 0 and file.is_file() else "FAILED"


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit status, 1 if a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=25, help="after which nothing more begins, and what runs ends"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu_suite"), help="folder for all results")
    parser.add_argument("--small", action="store_true", help="a rehearsal with a tiny shape, also on a CPU")
    parser.add_argument("--only_sharding", action="store_true", help=argparse.SUPPRESS)  # a step of the suite
    args = parser.parse_args(argv)
    if args.only_sharding:
        result = sharding(args.small, args.output.with_suffix(""))
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return 0
    if not (torch.cuda.is_available() or args.small):
        raise SystemExit("No GPU is seen here. --small rehearses the suite on a CPU.")
    args.output.mkdir(parents=True, exist_ok=True)
    end, rows, failed = time.monotonic() + 60 * args.minutes, [], False
    for step in steps():
        print(f"{step.what} ...", file=sys.stderr, flush=True)
        how = run(step, args.output, args.small, end - time.monotonic())
        failed |= how == "FAILED"
        told = how
        if how in ("ok", "there"):
            told = step.headline(json.loads((args.output / f"{step.name}.json").read_text(encoding="utf-8")))
        elif how == "FAILED":
            told = f"FAILED, see {args.output / step.name}.log"
        rows.append([f"{step.what} (rehearsed with a tiny one)" if args.small else step.what, told])
    text = markdown_table(["", "measured"], rows)
    (args.output / "suite.md").write_text(text, encoding="utf-8")
    print(text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
