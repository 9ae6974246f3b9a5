"""RM-Bench (arXiv 2410.16184) for EndoRM and its rivals: is the right response preferred although the wrong one is
better styled?

    python scripts/eval_rm_bench.py --model Qwen/Qwen2.5-7B-Instruct --judge endorm generative_verifier
    python scripts/eval_rm_bench.py --model M --judge endorm trained_reward=Skywork/Skywork-Reward-Llama-3.1-8B-v0.2
    python scripts/eval_rm_bench.py --model M --sweep

Writes results.json (cells, averages, intervals, settings), results.md and heatmap.png. A second run, or a sweep, reads
EndoRM's per-token scores from the cache.
"""

import argparse

from rewards.preferences import rm_bench
from rewards.preferences.comparisons import with_system
from rewards.preferences.evaluation import (
    add_arguments,
    assess,
    endorm_source,
    judge_tables,
    judge_views,
    sweep,
    sweep_panels,
)
from rewards.preferences.report import write
from rewards.reporting.record import git_commit, versions


def overall(views: dict) -> float | None:
    """The official average where all four domains are there, else the mean over all samples."""
    scores = views[""]
    return scores["pooled_average"] if scores["official_average"] is None else scores["official_average"]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, data="THU-KEG/RM-Bench", output="outputs/rm_bench")
    parser.add_argument("--system_prompt", help="criterion to judge by")
    args = parser.parse_args(argv)

    comparisons = rm_bench.load(args.data, args.split or "train", chat=not args.no_chat, limit=args.limit)
    if args.system_prompt:
        comparisons = with_system(comparisons, args.system_prompt)
    source = endorm_source(args) if args.sweep or "endorm" in args.judge else None
    verdicts = {label: v[""] for label, v in judge_views({"": comparisons}, args, source).items()}
    results = assess(rm_bench, comparisons, verdicts, args.draws)
    markdown = f"# RM-Bench, {args.model}\n\nAccuracy in percent (95 % interval)\n\n"
    markdown += judge_tables(results, rm_bench.COLUMNS)
    matrices = results["judges"][args.judge[0]]["matrices"]
    panels = {
        f"{name}, {args.judge[0]}": (
            matrix,
            [f"right {s}" for s in rm_bench.STYLES],
            [f"wrong {s}" for s in rm_bench.STYLES],
        )
        for name, matrix in matrices.items()
        if any(x is not None for row in matrix for x in row)
    }
    if args.sweep:
        results["sweep"] = sweep(rm_bench, {"": comparisons}, source, args)
        table, panel = sweep_panels(results["sweep"], overall)
        markdown += f"\n## Sweep\n\n{table}"
        panels |= panel
    facts = {"benchmark": "RM-Bench", "settings": vars(args), "git_commit": git_commit(), "versions": versions()}
    write(args.output, facts | results, markdown, panels)


if __name__ == "__main__":
    main()
