"""Distillation: does a small student learn more under a larger frozen teacher's EndoRM than under its own?

Teacher and student imitate the same noisy expert of the demo task, the student a smaller model with fewer steps. Then
PPO (configs/demo/distill_ppo.yaml) trains the student under the teacher's EndoRM, and another time, all else equal,
under the student's own. Accuracy of all four on held-out problems, sampled and greedy. Writes results.json, results.md
and accuracy.png; nothing is downloaded.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM

from rewards.reporting.bars import draw_bars
from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.arithmetic import build_tokenizer, write_splits
from train.tasks.arithmetic_evaluation import evaluate, read_prompts
from train.tasks.arithmetic_model import imitate_expert

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
RECIPE = "configs/demo/distill_ppo.yaml"
POLICIES = ("teacher", "student", "student, own EndoRM", "student, teacher's EndoRM")
DECODINGS = ("sampled", "greedy")


def one_seed(seed: int, heldout: np.ndarray, args: argparse.Namespace) -> list[dict]:
    """Make a student, train it under the teacher and under itself, and measure all."""
    common, tokenizer = args.output.resolve(), build_tokenizer()
    folder, data = common / f"seed{seed}", common / "data"
    size = {"hidden": args.student_hidden, "layers": 2, "steps": args.student_steps}
    imitate_expert(tokenizer, heldout, seed=seed, **size).save_pretrained(folder / "student")
    tokenizer.save_pretrained(folder / "student")
    teacher = {"model": str(common / "teacher"), "dtype": "float32", "device": "cpu"}
    for name, source in (("own", {}), ("ppo", teacher)):
        rewards = [{"name": "endorm"} | source, {"name": "train.tasks.arithmetic.demo_accuracy", "weight": 0.0}]
        command = [*LAUNCH_ONE, str(ROOT / "train/ppo_endorm.py"), "--config", str(ROOT / RECIPE)]
        command += ["--seed", str(seed), "--rewards", json.dumps(rewards)]
        command += ["--model_name_or_path", str(folder / "student"), "--output_dir", str(folder / name)]
        command += ["--dataset_name", str(data / "train.jsonl"), "--max_steps", str(args.max_steps)]
        run_stage(command, folder / f"{name}.txt")
    prompts, rows = read_prompts(data / "heldout.jsonl", args.n), []
    for name, place in zip(POLICIES, ("../teacher", "student", "own", "ppo"), strict=True):
        model = AutoModelForCausalLM.from_pretrained(folder / place, dtype=torch.float32).eval()
        size = {"seed": seed, "parameters": model.num_parameters()}
        rows += [size | evaluate(name, model, tokenizer, prompts, decoding, seed) for decoding in DECODINGS]
    return rows


def gains(rows: list[dict]) -> list[dict]:
    """By seed and decoding, how far the student's accuracy rose under the teacher's and under its own EndoRM."""
    accuracy = {(r["seed"], r["decoding"], r["name"]): r["accuracy"] for r in rows}
    return [
        {
            "seed": seed,
            "decoding": decoding,
            "under_teacher": accuracy[seed, decoding, POLICIES[3]] - accuracy[seed, decoding, "student"],
            "under_own": accuracy[seed, decoding, POLICIES[2]] - accuracy[seed, decoding, "student"],
        }
        for seed, decoding in dict.fromkeys((r["seed"], r["decoding"]) for r in rows)
    ]


def markdown(rows: list[dict]) -> str:
    """Accuracies with 95 % intervals as a Markdown table, and how often the teacher was the better reward."""
    cells = {(r["name"], r["decoding"], r["seed"]): with_interval(r["accuracy"], *r["ci95"]) for r in rows}
    seeds = list(dict.fromkeys(r["seed"] for r in rows))
    lines = [[name, at, *(cells[name, at, seed] for seed in seeds)] for at in DECODINGS for name in POLICIES]
    table = markdown_table(["policy", "decoding", *(f"seed {seed}" for seed in seeds)], lines, left=2)
    found = gains(rows)
    better = sum(g["under_teacher"] > g["under_own"] for g in found)
    many = f"{better} of {len(found)} combinations of seed and decoding"
    return f"{table}\nThe student gained more under the teacher's reward than under its own in {many}.\n"


def committed_table() -> str:
    """The README's table, from results/results.json."""
    return markdown(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["policies"])


def draw(rows: list[dict], path: Path) -> None:
    """Accuracy of each policy by seed, sampled and greedy, as a PNG."""
    seeds = list(dict.fromkeys(r["seed"] for r in rows))
    panels = {
        at: {s: [(r["accuracy"], r["ci95"]) for r in rows if (r["seed"], r["decoding"]) == (s, at)] for s in seeds}
        for at in DECODINGS
    }
    draw_bars(panels, [p.replace(", ", "\n") for p in POLICIES], "accuracy on held-out problems", path)


def main(argv: list[str] | None = None) -> None:
    """Command line entry: every seed, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/distill"), help="folder for models and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of students, PPO and sampling")
    parser.add_argument("--teacher_steps", type=int, default=700, help="optimizer steps of the teacher")
    parser.add_argument("--student_steps", type=int, default=450, help="optimizer steps of the student")
    parser.add_argument("--teacher_hidden", type=int, default=96, help="hidden size of the teacher, of 3 layers")
    parser.add_argument("--student_hidden", type=int, default=64, help="hidden size of the student, of 2 layers")
    parser.add_argument("--max_steps", type=int, default=480, help="steps of PPO")
    parser.add_argument("--n", type=int, default=2000, help="held-out prompts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; 2 is faster, on cores that are idle")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    start = time.perf_counter()
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "write_readme")}
    made = record(settings, None if argv is None else [SCRIPT.relative_to(ROOT), *argv])
    torch.set_num_threads(args.threads)

    heldout, tokenizer = write_splits(args.output / "data"), build_tokenizer()  # teacher and problems for all seeds
    size = {"hidden": args.teacher_hidden, "layers": 3, "steps": args.teacher_steps}
    imitate_expert(tokenizer, heldout, **size).save_pretrained(args.output / "teacher")
    tokenizer.save_pretrained(args.output / "teacher")
    rows = [row for seed in tqdm(args.seeds, desc="seeds") for row in one_seed(seed, heldout, args)]
    results = {"policies": rows, "gains": gains(rows), "recipe": RECIPE, "seconds": time.perf_counter() - start}
    results |= made
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = markdown(rows)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    draw(rows, args.output / "accuracy.png")
    print(f"{text}\nWrote results.json, results.md and accuracy.png to {args.output} ({results['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
