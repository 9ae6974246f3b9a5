"""Does a reward prompt steer a policy? Two criteria push the same small LM to two different styles, by PPO.

A base LM learns from scratch to answer tersely or verbosely, as a criterion before the problem says, and either way
without one. Its copy is then trained on problems without criterion, under the EndoRM of the base that reads one
(configs/demo/steer_ppo.yaml). Shares of both styles on held-out problems without criterion, before and after; beside
them the base that may read the criterion itself. Writes results.json, results.md and styles.png; no download.
"""

import argparse
import json
import re
import time
from pathlib import Path

import torch
from styles import CRITERIA, imitate_styles, style_of
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.frozen.encoding import encode_prompt
from rewards.reporting.bars import draw_bars
from rewards.reporting.intervals import wilson
from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.arithmetic import build_tokenizer, solve, write_splits
from train.tasks.arithmetic_evaluation import complete, read_prompts

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
RECIPE = "configs/demo/steer_ppo.yaml"


def measure(name: str, folder: Path, prompts: list[str], criterion: str | None, seed: int) -> dict:
    """Shares of both styles among sampled responses with 95% Wilson intervals, and the share of right answers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    read = [tokenizer.decode(encode_prompt(tokenizer, p, criterion)) for p in prompts]
    torch.manual_seed(seed)
    texts, lengths = complete(model, tokenizer, read, temperature=1.0)
    styles, n = [style_of(text) for text in texts], len(prompts)
    right = [s is not None and text[-1] == solve(p)[-1] for p, text, s in zip(prompts, texts, styles, strict=True)]
    row = {"seed": seed, "policy": name, "n": n, "accuracy": sum(right) / n, "mean_tokens": sum(lengths) / n}
    for style in CRITERIA:
        row[style] = {"share": styles.count(style) / n, "ci95": list(wilson(styles.count(style), n))}
    return row


def one_seed(seed: int, args: argparse.Namespace) -> list[dict]:
    """Make the base, train it under each criterion, and measure all."""
    folder = (args.output / f"seed{seed}").resolve()
    heldout, tokenizer = write_splits(folder / "data", seed=seed), build_tokenizer()
    model = imitate_styles(tokenizer, heldout, seed=seed, steps=args.base_steps, hidden=args.hidden)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    prompts = read_prompts(folder / "data/heldout.jsonl", args.n)
    rows = [measure("base, no criterion", folder / "base", prompts, None, seed)]
    for style, criterion in CRITERIA.items():
        rows.append(measure(f"base that reads {style}", folder / "base", prompts, criterion, seed))
    for style, criterion in CRITERIA.items():
        output = folder / f"ppo_{style}"
        command = [*LAUNCH_ONE, str(ROOT / "train/ppo_endorm.py"), "--config", str(ROOT / RECIPE)]
        rewards = json.dumps([{"name": "endorm", "system_prompt": criterion}])
        command += ["--seed", str(seed), "--rewards", rewards]
        command += ["--model_name_or_path", str(folder / "base"), "--output_dir", str(output)]
        command += ["--dataset_name", str(folder / "data/train.jsonl"), "--max_steps", str(args.max_steps)]
        run_stage(command, folder / f"ppo_{style}.txt")
        rows.append(measure(f"PPO under {style}", output, prompts, None, seed))
    return rows


def markdown(rows: list[dict]) -> str:
    """The rows as a Markdown table, one policy after the other."""
    lines = []
    for policy in dict.fromkeys(r["policy"] for r in rows):
        for r in (r for r in rows if r["policy"] == policy):
            shares = [with_interval(r[style]["share"], *r[style]["ci95"]) for style in CRITERIA]
            lines.append([policy, r["seed"], *shares, f"{r['accuracy']:.3f}", f"{r['mean_tokens']:.1f}"])
    return markdown_table(["policy", "seed", *CRITERIA, "accuracy", "tokens"], lines)


def committed_table() -> str:
    """The README's table, from results/results.json."""
    return markdown(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["policies"])


def draw(rows: list[dict], path: Path) -> None:
    """Shares of both styles by policy, a bar each seed, as a PNG."""
    policies = list(dict.fromkeys(r["policy"] for r in rows))
    seeds = list(dict.fromkeys(r["seed"] for r in rows))
    panels = {
        f"{at} responses": {s: [(r[at]["share"], r[at]["ci95"]) for r in rows if r["seed"] == s] for s in seeds}
        for at in CRITERIA
    }
    draw_bars(panels, [re.sub(",? (that|no|under) ", r"\n\1\n", p) for p in policies], "share, sampled", path)


def main(argv: list[str] | None = None) -> None:
    """Command line entry: every seed, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/steer"), help="folder for models and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of prompts, models and sampling")
    parser.add_argument("--base_steps", type=int, default=300, help="optimizer steps of the base")
    parser.add_argument("--hidden", type=int, default=64, help="hidden size of the base, of 2 layers")
    parser.add_argument("--max_steps", type=int, default=120, help="steps of PPO")
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

    rows = [row for seed in tqdm(args.seeds, desc="seeds") for row in one_seed(seed, args)]
    results = {"policies": rows, "recipe": RECIPE, "criteria": CRITERIA, "seconds": time.perf_counter() - start}
    results |= made
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = markdown(rows)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    draw(rows, args.output / "styles.png")
    print(f"{text}\nWrote results.json, results.md and styles.png to {args.output} ({results['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
