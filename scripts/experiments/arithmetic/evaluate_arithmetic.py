"""Evaluate the demo: the base model and a trained policy on held-out prompts, sampled and greedy.

Prints a table and writes results.json, results.md and training.png (rewards, accuracy, KL and response length over the
training steps, read from trainer_state.json in the policy folder, beside the base's accuracies).
"""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.reporting.record import record
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.evaluation.training_figure import draw_training
from train.tasks.arithmetic_evaluation import evaluate, read_prompts

ACCURACY = "rewards/demo_accuracy/mean"
SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
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
    """The evaluation rows of one run as a Markdown table."""
    rows = [
        [
            row["name"],
            row["decoding"],
            f"{row['temperature']:.1f}",
            with_interval(row["accuracy"], *row["ci95"]),
            f"{row['mean_tokens']:.2f}",
            row["n"],
        ]
        for row in policies
    ]
    return markdown_table(["policy", "decoding", "T", "accuracy (95 % interval)", "tokens", "n"], rows, left=2)


def committed_table() -> str:
    """The README's table: a row for each algorithm and seed, from the files in results/."""
    rows = []
    for algorithm in ("ppo", "grpo"):
        for path in sorted(RESULTS.glob(f"{algorithm}_seed*.json")):
            run = json.loads(path.read_text(encoding="utf-8"))
            cells = {(row["name"], row["decoding"]): row for row in run["policies"]}
            trained = f"{algorithm}_endorm"
            before, after = cells["base", "sampled"], cells[trained, "sampled"]
            controls = [cells[at]["accuracy"] for at in (("base", "greedy"), ("base", "low_temperature"))]
            rows.append(
                [
                    algorithm.upper(),
                    run["seed"],
                    with_interval(before["accuracy"], *before["ci95"]),
                    *(f"{accuracy:.3f}" for accuracy in controls),
                    f"**{with_interval(after['accuracy'], *after['ci95'])}**",
                    f"{cells[trained, 'greedy']['accuracy']:.3f}",
                    f"{run['seconds']:.0f} s",
                ]
            )
    headings = ["", "seed", "base, sampled", "base, greedy", "base, T = 0.3", "trained, sampled", "trained, greedy"]
    return markdown_table([*headings, "whole run"], rows)


def base_levels(rows: dict[tuple[str, str], dict]) -> dict[str, dict[str, float]]:
    """Where the base's accuracies stand in the picture of the training, as `draw_training` takes it."""
    return {ACCURACY: {f"base, {how}": rows["base", how]["accuracy"] for how in ("sampled", "greedy")}}


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
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
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
    draw_training(history, args.output / "training.png", base_levels(rows))
    sentence = finding(rows, args.name)
    results = {
        "policies": policies,
        "finding": sentence,
        "seconds": args.seconds_so_far + time.perf_counter() - start,
        "seed": args.seed,
    } | record(argv=None if argv is None else [SCRIPT.relative_to(ROOT), *argv])
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = f"{table(policies)}\n{sentence}\n"
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWrote results.json, results.md and training.png to {args.output} ({results['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
