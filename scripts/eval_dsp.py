"""DSP (arXiv 2309.03126) for EndoRM and its rivals: does a system prompt steer the judge?

    python scripts/eval_dsp.py --model Qwen/Qwen2.5-7B-Instruct --judge endorm --output outputs/dsp

Every response is judged under four system prompts. The table has one row a prompt and one column a test domain; where
prompts steer, a column's own domain wins it. Writes results.json, results.md and heatmap.png.
"""

import argparse
from pathlib import Path

from rewards.preferences import dsp
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
from rewards.reporting.tables import markdown_table, percent


def own_domains(views: dict) -> float | None:
    """Mean accuracy of each domain under its own prompt: the table's diagonal."""
    diagonal = [views[domain][domain] for domain in dsp.DOMAINS]
    return None if None in diagonal else sum(diagonal) / len(diagonal)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, data=dsp.TEST_FILE, output="outputs/dsp")
    parser.add_argument("--prompts", type=Path, default=dsp.PROMPTS, help="folder of dsp_DOMAIN.txt; ours by default")
    parser.add_argument("--max_length_ratio", type=float, default=1.25, help="of a length-matched pair")
    args = parser.parse_args(argv)

    comparisons = dsp.load(args.data, args.split or "train", chat=not args.no_chat, limit=args.limit)
    views = {domain: with_system(comparisons, text) for domain, text in dsp.system_prompts(args.prompts).items()}
    source = endorm_source(args) if args.sweep or "endorm" in args.judge else None
    verdicts = judge_views(views, args, source)
    ratio = {"max_length_ratio": args.max_length_ratio}
    results: dict = {
        "views": {
            domain: assess(dsp, comparisons, {label: v[domain] for label, v in verdicts.items()}, args.draws, **ratio)
            for domain in views
        },
        "tables": {},
    }
    markdown = f"# DSP, {args.model}\n\nAccuracy in percent. Row: domain of the system prompt. Column: test domain.\n"
    panels = {}
    for label in verdicts:
        summaries = {domain: results["views"][domain]["judges"][label] for domain in views}
        results["tables"][label] = {}
        for variant in dsp.VARIANTS:
            table = results["tables"][label][variant.lstrip("_") or "all"] = dsp.table(summaries, variant)
            title = f"{label}{variant.replace('_', ' ')}"
            rows = [[r, *map(percent, row)] for r, row in zip(table["rows"], table["accuracy"])]
            markdown += f"\n## {title}\n\n{markdown_table(['prompt', *table['columns']], rows)}"
            markdown += f"\nA domain's own prompt wins {table['diagonal_wins']} of {len(table['columns'])} columns.\n"
            panels[title] = (table["accuracy"], table["rows"], table["columns"])
    for domain in views:
        markdown += f"\n## Judges under the {domain} prompt\n\n{judge_tables(results['views'][domain], dsp.COLUMNS)}"
    if args.sweep:
        results["sweep"] = sweep(dsp, views, source, args)
        table, panel = sweep_panels(results["sweep"], own_domains)
        markdown += f"\n## Sweep, mean of the diagonal\n\n{table}"
        panels |= panel
    facts = {"benchmark": "DSP", "settings": vars(args), "git_commit": git_commit(), "versions": versions()}
    write(args.output, facts | results, markdown, panels)


if __name__ == "__main__":
    main()
