"""Run PPO and GRPO under every launcher that works without a GPU and compare them with one process.

    python scripts/check_launchers.py [--data my_problems.jsonl] [--model outputs/rehearsal]

Each run takes 3 steps on the same prompts with the same global batch, its responses chosen greedily so that all runs
see the same ones. The table shows how far token rewards, KL, loss and gradient norm of the first step are from one
process's, and whether the saved policy loads with plain transformers and generates, and the critic came back. The
default frozen base is not the policy but a model like it, so that there is a KL to compare. Exit code 1 if a run
differs.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.reporting.stages import LAUNCH, run_stage
from rewards.reporting.tables import markdown_table
from train.critic import Critic, CriticLearner
from train.tasks.rehearsal_model import example_problems, rehearsal_models

ROOT = Path(__file__).resolve().parents[1]
LAUNCHERS = {"single": 1, "cpu_ddp": 2, "cpu_zero2": 2, "cpu_zero3": 2}  # accelerate file: processes
RECIPES = {algorithm: f"configs/math/{algorithm}_qwen2.5_math_7b.yaml" for algorithm in ("ppo", "grpo")}
COMPARED = ("loss", "grad_norm", "reward", "token_rewards/mean", "token_rewards/std", "kl/k1", "kl/k3", "entropy")
GLOBAL_BATCH = 8


def launch(algorithm: str, launcher: str, model: str, frozen: str, data: str, output: Path) -> dict:
    """One run. Returns the metrics of its first step."""
    fields = {
        "model_name_or_path": model,
        "frozen_base": frozen,
        "dataset_name": data,
        "output_dir": output,
        "use_cpu": True,
        "bf16": False,
        "frozen_dtype": "float32",
        "max_steps": 3,
        "learning_rate": 1e-4,
        "per_device_train_batch_size": GLOBAL_BATCH // LAUNCHERS[launcher],
        "gradient_accumulation_steps": 1,
        "steps_per_generation": 1,
        "max_completion_length": 16,
        "top_k": 1,
        "save_steps": 3,
    }
    flags = [str(x) for name, value in fields.items() for x in (f"--{name}", value)]
    if algorithm == "grpo":
        flags += ["--num_generations", "4", "--beta", "0.1"]
    command = [*LAUNCH, "--config_file", str(ROOT / f"configs/accelerate/{launcher}.yaml")]
    command += ["--main_process_port", "0", str(ROOT / f"train/{algorithm}_endorm.py")]
    command += ["--config", str(ROOT / RECIPES[algorithm]), *flags]
    # torchrun's --standalone, which accelerate does not know: it binds a free port itself and keeps it
    run_stage(command, output.with_suffix(".txt"), os.environ | {"PYTHONWARNINGS": "ignore", "PET_STANDALONE": "1"})
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return next(row for row in history if row["step"] == 1)


def reloads(algorithm: str, folder: Path) -> bool:
    """Whether the saved policy generates with plain transformers, and the critic comes back with finite weights."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer("What is 1 + 1?")["input_ids"]])
    generated = model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] > ids.shape[1]
    if algorithm == "grpo":
        return generated
    width = load_file(folder / "critic.safetensors")["mlp.0.weight"].shape[0]
    learner = CriticLearner(Critic(model.config.hidden_size, width), 1e-3, 1, 1, None)
    learner.load(folder / "checkpoint-3")
    states = model(ids, output_hidden_states=True).hidden_states[-1][0].detach()
    value = learner.critic(states, torch.zeros(len(states)))
    return generated and len(learner.optimizer.state) > 0 and bool(value.isfinite().all())


def compared(row: dict, reference: dict, tolerance: float) -> tuple[list[str], bool]:
    """The cells of a run's first step with its differences from one process, and whether any is too large."""
    cells, differs = [], False
    for name in COMPARED:
        if name not in row:
            cells.append("")
            continue
        difference = abs(row[name] - reference[name])
        differs |= difference > tolerance * max(1.0, abs(reference[name]))
        cells.append(f"{row[name]:.5f}" if row is reference else f"{row[name]:.5f} ({difference:.0e})")
    return cells, differs


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a small model with a chat template; default one made on the spot")
    parser.add_argument("--data", help="file of problems; default a few sums")
    parser.add_argument("--algorithms", nargs="+", choices=RECIPES, default=list(RECIPES), help="what to run")
    parser.add_argument("--launchers", nargs="+", choices=LAUNCHERS, default=list(LAUNCHERS), help="under what")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest difference allowed")
    args = parser.parse_args(argv)

    rows, failed = [], False
    with tempfile.TemporaryDirectory() as scratch:
        model, frozen = (args.model, args.model) if args.model else rehearsal_models(Path(scratch))
        data = args.data or example_problems(Path(scratch) / "problems.jsonl")
        for algorithm in args.algorithms:
            reference: dict = {}
            for launcher in ["single", *(name for name in args.launchers if name != "single")]:
                output = Path(scratch) / f"{algorithm}_{launcher}"
                found = launch(algorithm, launcher, model, frozen, data, output)
                reference = reference or found
                cells, differs = compared(found, reference, args.tolerance)
                fine = reloads(algorithm, output)
                failed |= differs or not fine
                rows.append([f"{algorithm} {launcher}", *cells, fine])
                print(f"{algorithm} under {launcher}: done", file=sys.stderr, flush=True)
    print(markdown_table(["run", *COMPARED, "reloads"], rows))
    print("FAILED" if failed else f"all within {args.tolerance:g} of one process")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
