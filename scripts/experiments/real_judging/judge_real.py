"""Is a real language model of 135M parameters a judge, and of what? RM-Bench and DSP, beside judges that read nothing.

    python scripts/experiments/real_judging/judge_real.py --model outputs/SmolLM2-135M-Instruct

EndoRM with and without the chat template under many settings, the generative verifier and the pairwise judge of the
same model, the floors "length only" and "random", and the scores of the method's published script. Every stage is a
process of scripts/eval_judges.py or score_parity.py beside this file, and leaves one JSON file; a stage whose file is
there is not run again, and per-token scores that a killed stage has made are not computed again. Writes results.md and
settings.png too. Downloads the two data sets from the hub, unless files are named.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from real_judging_report import draw, markdown
from tqdm import tqdm

from rewards.preferences import dsp, rm_bench
from rewards.preferences.rows import load_rows
from rewards.reporting.record import command_line, record
from rewards.reporting.stages import run_stage
from rewards.reporting.tables import write_between

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
SWEEP = "--sweep --discounts 1 0.99 0.95 0.9 --floors 0 0.1 --forms reward logprob --reduces sum mean --end_tokens 1 0"
PLAIN = f"--no_chat {SWEEP}"
STAGES = {  # name: its rows, the benchmark, more flags
    "chat": ("chat", "rm_bench", SWEEP),
    "parity": ("chat", None, ""),
    "chat_plain": ("chat", "rm_bench", PLAIN),
    "verifier": ("verifier", "rm_bench", "--judge generative_verifier endorm"),
    "pairwise": ("pairwise", "rm_bench", "--judge pairwise_judge endorm"),
    "safety": ("safety", "rm_bench", SWEEP),
    "safety_plain": ("safety", "rm_bench", PLAIN),
    "code": ("code", "rm_bench", SWEEP),
    "code_plain": ("code", "rm_bench", PLAIN),
    "dsp": ("dsp", "dsp", SWEEP),
}
DOMAINS = {"chat": "chat", "verifier": "chat", "pairwise": "chat", "safety": "safety", "code": "code"}
SIZES = {"chat": 0, "verifier": 24, "pairwise": 8, "safety": 40, "code": 16, "dsp": 16}


def sample(rows: Sequence[dict], n: int, seed: int) -> list[dict]:
    """n rows, in their order, without replacement; 0 for all. A smaller sample is part of a larger one."""
    chosen = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in sorted(chosen[: n or None].tolist())]


def write_rows(args: argparse.Namespace) -> dict[str, tuple[Path, int]]:
    """The rows of the stages as files: name -> file, and how many rows it has.

    Raises:
        SystemExit: the data have no rows of a domain.
    """
    found: dict[str, tuple[Path, int]] = {}
    wanted = {STAGES[name][0] for name in args.stages}
    collections = {}
    if wanted & set(DOMAINS):
        collections["rm_bench"] = rm_bench.read_rows(args.rm_bench)[0]
    if "dsp" in wanted:
        collections["dsp"] = load_rows(args.dsp)[0]
    (args.output / "data").mkdir(parents=True, exist_ok=True)
    for name in sorted(wanted):
        rows = collections["dsp" if name == "dsp" else "rm_bench"]
        if name in DOMAINS:
            rows = [row for row in rows if str(row.get("domain")).startswith(DOMAINS[name])]
        if not rows:
            raise SystemExit(f"{args.rm_bench} has no rows of {DOMAINS[name]}: leave its stages out by --stages.")
        n = getattr(args, f"{name}_rows")
        rows = sample(rows, min(n or len(rows), args.limit) if args.limit else n, args.seed)
        path = args.output / "data" / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found[name] = path, len(rows)
    return found


def command_of(name: str, data: Path, args: argparse.Namespace) -> list[str]:
    """The words of a stage's command."""
    _, benchmark, more = STAGES[name]
    words = ["--model", args.model, "--data", str(data), "--output", str(args.output / name)]
    words += ["--cache", str(args.output / "score_cache"), *more.split()]
    if benchmark is None:
        script = [str(SCRIPT.with_name("score_parity.py").relative_to(ROOT)), "--machine", args.machine]
        return [*script, *words, *(["--reference_script", args.reference_script] if args.reference_script else [])]
    return ["scripts/eval_judges.py", benchmark, *words, "--dtype", "float32", "--draws", str(args.draws)]


def condensed(results: dict) -> dict:
    """A stage's results without what no table needs: scores that do not exist, and a sweep's scores of every view."""
    kept = dict(results)
    for assessed in [kept, *kept.get("views", {}).values()]:
        for judge in assessed.get("judges", {}).values():
            judge["scores"] = {name: s for name, s in judge["scores"].items() if s["value"] is not None}
        for difference, scores in assessed.get("differences", {}).items():
            assessed["differences"][difference] = {n: s for n, s in scores.items() if s["value"] is not None}
    if "sweep" in kept:
        kept["sweep"] = [{k: v for k, v in row.items() if k != "views"} for row in kept["sweep"]]
    return kept


def run(name: str, data: Path, rows: int, args: argparse.Namespace) -> dict:
    """A stage's results, from its file where the same command on the same rows has made it."""
    path, command = args.output / f"{name}.json", command_of(name, data, args)
    source = Path(args.dsp if name == "dsp" else args.rm_bench).name
    asked = {"stage": command_line(command), "rows": rows, "seed": args.seed, "source": source}
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["asked"] == asked:
            return found
        tqdm.write(f"{path} was made by another command: {name} is run again")
        if name == "parity":
            (args.output / name / "chunks.jsonl").unlink(missing_ok=True)
    log = args.output / f"{name}.log"
    tqdm.write(f"{name}, {rows} rows; its progress is in {log}")
    start = time.perf_counter()
    run_stage([sys.executable, *command], log)
    results = condensed(json.loads((args.output / name / "results.json").read_text(encoding="utf-8")))
    results |= {"asked": asked, "seconds": round(time.perf_counter() - start, 1), "machine": args.machine}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def read(folder: Path) -> dict[str, dict]:
    """The stages whose files are in a folder."""
    files = {name: folder / f"{name}.json" for name in STAGES}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()}


def committed_table() -> str:
    """The README's tables, from results/."""
    return markdown(read(RESULTS))


def main(argv: list[str] | None = None) -> None:
    """Command line entry: rows, stages, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="outputs/SmolLM2-135M-Instruct", help="folder or hub name")
    parser.add_argument("--rm_bench", default="THU-KEG/RM-Bench", help="hub name, file or folder")
    parser.add_argument("--dsp", default=dsp.TEST_FILE, help="hub name or file")
    parser.add_argument("--output", type=Path, default=Path("outputs/real_judging"), help="folder for everything")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, help="of the samples of rows")
    for name, size in SIZES.items():
        parser.add_argument(
            f"--{name}_rows", type=int, default=size, help=f"rows of {name}, 0 for all; default {size}"
        )
    parser.add_argument("--limit", type=int, help="at most so many rows in a stage, to try the command")
    parser.add_argument("--draws", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--reference_script", help="for parity: Python file with seed_reward(model, tokenizer, ...)")
    parser.add_argument("--machine", default="", help="what else ran on it, to be kept beside the seconds")
    parser.add_argument("--write_readme", action="store_true", help="only write the tables of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        draw(read(RESULTS), RESULTS / "settings.png")
        return
    os.chdir(ROOT)
    rows = write_rows(args)
    made = record({k: v for k, v in vars(args).items() if k != "write_readme"})
    with tqdm(args.stages, unit="stage") as bar:
        for name in bar:
            bar.set_description(name)
            run(name, *rows[STAGES[name][0]], args)
    found = read(args.output)
    (args.output / "results.json").write_text(json.dumps(made | {"stages": list(found)}, indent=1) + "\n")
    (args.output / "results.md").write_text(markdown(found), encoding="utf-8")
    draw(found, args.output / "settings.png")
    print(f"{markdown(found)}\nWrote results.md, settings.png and a JSON file a stage to {args.output}")


if __name__ == "__main__":
    main()
