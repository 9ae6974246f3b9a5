"""Evaluate the demo: the base model and a trained policy on held-out prompts, sampled and greedy.

Prints a table and writes results.json, results.md and training.png (reward, accuracy, KL and response length over the
training steps, read from trainer_state.json in the policy folder).
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.reporting.record import git_commit, versions
from train.tasks.arithmetic_evaluation import evaluate, read_prompts

PANELS = {
    "reward": ("reward",),
    "accuracy": ("rewards/demo_accuracy/mean",),
    "KL to the base": ("kl/k1", "kl"),
    "response length (tokens)": ("completions/mean_length",),
}
MAKE_BASE = "make it with scripts/experiments/arithmetic/make_base.py"


def finding(rows: dict[tuple[str, str], dict], name: str) -> str:
    """One plain sentence on what the accuracies in ``rows`` (keyed by name and decoding) show and do not show."""
    sampled, greedy, after = rows["base", "sampled"], rows["base", "greedy"], rows[name, "sampled"]
    start = (
        f"Sampled accuracy on held-out prompts went from {sampled['accuracy']:.3f} (base) to {after['accuracy']:.3f}"
    )
    if after["ci95"][0] <= sampled["ci95"][1]:
        return f"{start}, which is no gain: the policy is not clearly above the base it started from."
    if after["ci95"][0] > greedy["ci95"][1]:
        return f"{start}, above the base's greedy accuracy of {greedy['accuracy']:.3f}: more than sharpening."
    cold = rows["base", "low_temperature"]["accuracy"]
    return (
        f"{start}, but greedy decoding of the base itself is already at {greedy['accuracy']:.3f} (and "
        f"sampling it at temperature 0.3 at {cold:.3f}), so the gain is sharpening of what the base knows, "
        "not new knowledge."
    )


def table(policies: list[dict]) -> str:
    """The evaluation rows as a Markdown table."""
    lines = [
        f"| {'policy':<16} | {'decoding':<15} | {'T':>3} | accuracy | {'95% interval':<14} | tokens | {'n':>5} |",
        f"|{'-' * 18}|{'-' * 17}|{'-' * 4}:|{'-' * 9}:|{'-' * 16}|{'-' * 7}:|{'-' * 6}:|",
    ]
    for row in policies:
        low, high = row["ci95"]
        lines.append(
            f"| {row['name']:<16} | {row['decoding']:<15} | {row['temperature']:.1f} | {row['accuracy']:8.3f} "
            f"| {low:.3f} to {high:.3f} | {row['mean_tokens']:6.2f} | {row['n']:5d} |"
        )
    return "\n".join(lines)


def draw_training(history: list[dict], rows: dict[tuple[str, str], dict], path: Path) -> None:
    """Four panels over the training steps; a series that ``history`` does not hold leaves its panel a note."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    for axis, (title, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        name = next((key for key in names if any(key in entry for entry in history)), None)
        axis.set_title(title)
        axis.set_xlabel("step")
        if name is None:
            axis.text(0.5, 0.5, "not logged", ha="center", va="center", transform=axis.transAxes)
            continue
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        axis.plot(*zip(*points, strict=True), label="policy in training")
        axis.grid(alpha=0.3)
        if title.startswith("response length"):
            axis.set_ylim(bottom=0)
        if title == "accuracy":
            for decoding, color in (("sampled", "tab:red"), ("greedy", "tab:green")):
                height = rows["base", decoding]["accuracy"]
                axis.axhline(height, ls="--", color=color, label=f"base, {decoding} ({height:.3f})")
            axis.set_ylim(0, 1.05)
            axis.legend()
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    """Command line entry; leaves with a message that names the missing input if there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("outputs/demo/base"), help="folder of the base model")
    parser.add_argument("--policy", type=Path, default=Path("outputs/demo/ppo"), help="folder of the trained policy")
    parser.add_argument("--name", default="ppo_endorm", help="name of the policy in the results")
    parser.add_argument("--data", type=Path, default=Path("outputs/demo/data/heldout.jsonl"), help="held-out prompts")
    parser.add_argument("--output", type=Path, default=Path("outputs/demo"), help="folder for the results")
    parser.add_argument("--n", type=int, default=2000, help="evaluate at most this many prompts")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling")
    parser.add_argument("--seconds_so_far", type=float, default=0.0, help="wall seconds of the earlier demo stages")
    args = parser.parse_args(argv)
    start = time.perf_counter()

    state = args.policy / "trainer_state.json"
    for path, remedy in (
        (args.base / "config.json", MAKE_BASE),
        (args.data, MAKE_BASE),
        (args.policy / "config.json", f"train the policy first, with --output_dir {args.policy}"),
        (state, f"train the policy first, with --output_dir {args.policy}; the trainer's save_state() writes it"),
    ):
        if not path.is_file():
            raise SystemExit(f"{path} not found: {remedy}")
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    prompts = read_prompts(args.data, args.n)
    tokenizer = AutoTokenizer.from_pretrained(args.base)

    policies = []
    for name, folder, decodings in (
        ("base", args.base, ("sampled", "greedy", "low_temperature")),
        (args.name, args.policy, ("sampled", "greedy")),
    ):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        policies += [evaluate(name, model, tokenizer, prompts, decoding, args.seed) for decoding in decodings]
    rows = {(row["name"], row["decoding"]): row for row in policies}

    args.output.mkdir(parents=True, exist_ok=True)
    draw_training(history, rows, args.output / "training.png")
    sentence = finding(rows, args.name)
    results = {
        "policies": policies,
        "finding": sentence,
        "seconds": args.seconds_so_far + time.perf_counter() - start,
        "seed": args.seed,
        "versions": versions(),
        "command": sys.argv if argv is None else ["scripts/experiments/arithmetic/evaluate_arithmetic.py", *argv],
        "commit": git_commit(),
    }
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = f"{table(policies)}\n\n{sentence}\n"
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWrote results.json, results.md and training.png to {args.output} ({results['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
