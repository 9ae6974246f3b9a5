"""Two turns and a tool: does a policy learn to ask a calculator, and from which reward?

    python scripts/experiments/calculator/use_calculator.py --output outputs/calculator

A small model imitates someone who asks a calculator every other time and guesses otherwise. PPO and GRPO train it for
30 updates (configs/demo/calculator_ppo.yaml, calculator_grpo.yaml), with EndoRM and accuracy, with one of the two, or
with a random reward. Held-out problems are answered with the same tool. Writes results.json, results.md, calls.png.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from tqdm import tqdm

from rewards.reporting.bars import draw_bars
from rewards.reporting.intervals import student
from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.calculator import calculator_tokenizer, imitate_calculator, write_splits

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
TASK = "train.tasks.calculator"
LOGGED = [{"name": f"{TASK}.{name}", "weight": 0.0} for name in ("right_answer", "called")]
MIXES = {  # what is learned from; the rest is logged
    "EndoRM and accuracy": [{"name": "endorm", "weight": 0.2}, {"name": f"{TASK}.right_answer"}, LOGGED[1]],
    "EndoRM": [{"name": "endorm", "weight": 0.2}, *LOGGED],
    "accuracy": [{"name": f"{TASK}.right_answer"}, LOGGED[1]],
    "random": [{"name": "random"}, *LOGGED],
}
ALGORITHMS = ("PPO", "GRPO")
MEASURES = {"accuracy": "eval_rewards/right_answer/mean", "calls": "eval_rewards/called/mean"}


def train(algorithm: str, rewards: list, seed: int, folder: Path, base: Path, data: Path) -> dict:
    """One training: its held-out accuracy and share of calls before and after."""
    name = algorithm.lower()
    command = [*LAUNCH_ONE, str(ROOT / f"train/{name}_endorm.py")]
    command += ["--config", str(ROOT / f"configs/demo/calculator_{name}.yaml"), "--rewards", json.dumps(rewards)]
    command += ["--model_name_or_path", str(base), "--dataset_name", str(data / "train.jsonl")]
    command += ["--heldout_name", str(data / "heldout.jsonl"), "--output_dir", str(folder), "--seed", str(seed)]
    run_stage(command, folder.with_suffix(".txt"))
    rows = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    held = [row for row in rows if MEASURES["accuracy"] in row]
    turns = [row["completions/turns"] for row in rows if "completions/turns" in row]
    found = {
        f"{what} {when}": held[i][key] for what, key in MEASURES.items() for when, i in (("before", 0), ("after", -1))
    }
    return found | {"turns at first": turns[0], "turns in the end": turns[-1]}


def one_seed(seed: int, args: argparse.Namespace) -> list[dict]:
    """A base, and every training from it."""
    folder = args.output.resolve() / f"seed{seed}"
    imitate_calculator(seed, args.base_steps).save_pretrained(folder / "base")
    calculator_tokenizer().save_pretrained(folder / "base")
    rows = []
    for algorithm in ALGORITHMS:
        for mix, rewards in MIXES.items():
            place = folder / f"{algorithm} {mix}".lower().replace(" ", "_")
            found = train(algorithm, rewards, seed, place, folder / "base", args.output.resolve())
            rows.append({"seed": seed, "algorithm": algorithm, "rewards": mix, **found})
    return rows


def over_seeds(rows: list[dict], key: str) -> str:
    """Mean over seeds with its interval."""
    values = [row[key] for row in rows]
    return with_interval(*student(values)) if len(values) > 1 else f"{values[0]:.3f}"


def markdown(rows: list[dict]) -> str:
    """The base, and a row for each algorithm and mix of rewards: means over seeds, 95 % intervals of Student's t."""
    first = [row for row in rows if (row["algorithm"], row["rewards"]) == (ALGORITHMS[0], next(iter(MIXES)))]
    table = [["base", over_seeds(first, "accuracy before"), over_seeds(first, "calls before")]]
    for algorithm in ALGORITHMS:
        for mix in MIXES:
            own = [row for row in rows if (row["algorithm"], row["rewards"]) == (algorithm, mix)]
            table.append([f"{algorithm}, {mix}", over_seeds(own, "accuracy after"), over_seeds(own, "calls after")])
    return markdown_table(["held-out problems, with the tool", "right", "calls of the tool"], table)


def committed_table() -> str:
    """The README's table, from results/results.json."""
    return markdown(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["rows"])


def draw(rows: list[dict], path: Path) -> None:
    """Accuracy of base and policies by seed, a panel for each algorithm."""
    panels: dict = {}
    for algorithm in ALGORITHMS:
        panels[algorithm] = {}
        for seed in dict.fromkeys(row["seed"] for row in rows):
            own = [row for row in rows if (row["algorithm"], row["seed"]) == (algorithm, seed)]
            values = [own[0]["accuracy before"], *(row["accuracy after"] for row in own)]
            panels[algorithm][seed] = [(value, (value, value)) for value in values]
    draw_bars(panels, ["base", *(mix.replace(" and ", "\nand ") for mix in MIXES)], "right, with the tool", path)


def main(argv: list[str] | None = None) -> None:
    """Command line entry: every seed, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/calculator"), help="folder for models and results"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of bases, trainings and sampling")
    parser.add_argument("--base_steps", type=int, default=600, help="optimizer steps of the base")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    start = time.perf_counter()
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "write_readme")}
    made = record(settings, None if argv is None else [SCRIPT.relative_to(ROOT), *argv])
    torch.set_num_threads(1)
    write_splits(args.output)
    rows = [row for seed in tqdm(args.seeds, desc="seeds") for row in one_seed(seed, args)]
    results = {"rows": rows, "seconds": round(time.perf_counter() - start)} | made
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = markdown(rows)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    draw(rows, args.output / "calls.png")
    print(f"{text}\nWrote results.json, results.md and calls.png to {args.output} ({results['seconds']} s)")


if __name__ == "__main__":
    main()
