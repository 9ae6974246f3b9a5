"""Any preference pairs for EndoRM and its rivals: a hub dataset, or a local JSONL or parquet file.

    python scripts/eval_pairs.py --model M --data my_pairs.jsonl --group source --output outputs/my_pairs
    python scripts/eval_pairs.py --model M --preset multifaceted --judge endorm pairwise_judge

Columns: prompt, chosen and rejected (texts or chat messages; several of each as lists). Presets name the columns of
known datasets. Writes results.json, results.md and heatmap.png.
"""

import argparse

from rewards.preferences import pairs
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

COLUMN_FLAGS = ("prompt", "chosen", "rejected", "system", "group", "label")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, data=None, output="outputs/pairs")
    parser.add_argument("--preset", choices=pairs.PRESETS, help="a known dataset; other flags win over it")
    parser.add_argument("--config_name", help="configuration of the dataset")
    for column in COLUMN_FLAGS:
        parser.add_argument(f"--{column}", help=f"column of the {column}")
    parser.add_argument("--system_prompt", help="criterion to judge by, in place of the data's own")
    args = parser.parse_args(argv)

    fields = {"name": args.data, "split": args.split, "config": args.config_name}
    fields |= {column: getattr(args, column) for column in COLUMN_FLAGS}
    fields = pairs.PRESETS.get(args.preset, {}) | {k: v for k, v in fields.items() if v is not None}
    if "name" not in fields:
        parser.error("name the pairs: --data FILE_OR_HUB_NAME, or --preset")
    comparisons = pairs.load(**fields, chat=not args.no_chat, limit=args.limit)
    if args.system_prompt:
        comparisons = with_system(comparisons, args.system_prompt)
    source = endorm_source(args) if args.sweep or "endorm" in args.judge else None
    verdicts = {label: v[""] for label, v in judge_views({"": comparisons}, args, source).items()}
    results = assess(pairs, comparisons, verdicts, args.draws)
    columns = list(next(iter(results["judges"].values()))["scores"])
    markdown = f"# {fields['name']}, {args.model}\n\nAccuracy in percent (95 % interval)\n\n"
    markdown += judge_tables(results, columns)
    matrix = [[judge["scores"][c]["value"] for c in columns] for judge in results["judges"].values()]
    panels = {fields["name"]: (matrix, list(results["judges"]), columns)}
    if args.sweep:
        results["sweep"] = sweep(pairs, {"": comparisons}, source, args)
        table, panel = sweep_panels(results["sweep"], lambda views: views[""]["accuracy"])
        markdown += f"\n## Sweep\n\n{table}"
        panels |= panel
    facts = {"benchmark": fields, "settings": vars(args), "git_commit": git_commit(), "versions": versions()}
    write(args.output, facts | results, markdown, panels)


if __name__ == "__main__":
    main()
