"""EndoRM and its rivals as judges of responses, on three kinds of preference data.

    python scripts/eval_judges.py rm_bench --model Qwen/Qwen2.5-7B-Instruct --judge endorm generative_verifier
    python scripts/eval_judges.py rm_bench --model M --judge trained_reward=Skywork/Skywork-Reward-Llama-3.1-8B-v0.2
    python scripts/eval_judges.py rm_bench --model M --sweep
    python scripts/eval_judges.py dsp --model M --output outputs/dsp
    python scripts/eval_judges.py pairs --model M --data my_pairs.jsonl --group_column source
    python scripts/eval_judges.py pairs --model M --preset multifaceted --judge endorm pairwise_judge

`rm_bench` (arXiv 2410.16184) asks whether the right response is preferred although the wrong one is better styled.
`dsp` (arXiv 2309.03126) asks whether a system prompt steers the judge: every response is judged under four prompts.
`pairs` takes any preference pairs, from the hub or from a JSON, JSONL, CSV or parquet file. The layouts of common
collections are read as they are.

Each writes results.json (scores, intervals, settings), results.md and heatmap.png. EndoRM's scores of single tokens
are kept in a cache, so that a second run or a sweep over its settings computes no forward.
"""

import argparse
import textwrap
from pathlib import Path

from rewards.preferences import dsp, pairs, rm_bench
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
from rewards.preferences.layouts import LAYOUTS
from rewards.preferences.report import write
from rewards.reporting.record import record
from rewards.reporting.tables import percent

PAIR_COLUMNS = {
    "prompt": "column of the prompt, text or chat messages; '' for none, where the responses bring their turns along",
    "chosen": "column of the better response, or of the first of two where a label says which is better",
    "rejected": "column of the worse response, or of the second",
    "system": "column of a system prompt, which replaces one in the messages",
    "group": "column to report accuracy by",
    "label": "column that says which of two is better (such as safer_response_id), or the field that scores in lists",
}
RAW = argparse.RawDescriptionHelpFormatter


def commands() -> argparse.ArgumentParser:
    """The parser with one command for each kind of data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    kinds = parser.add_subparsers(dest="benchmark", required=True, metavar="rm_bench|dsp|pairs")

    about = "RM-Bench: is the right response preferred although the wrong one is better styled?"
    command = kinds.add_parser("rm_bench", help=about, description=about, formatter_class=RAW)
    add_arguments(command, data="THU-KEG/RM-Bench", output="outputs/rm_bench")
    command.add_argument("--system_prompt", help="criterion to judge by")

    about = "DSP: does a system prompt steer the judge?"
    more = "The table has one row for each prompt and one column for each test domain. Where prompts steer, a column's"
    more += " own domain wins it."
    command = kinds.add_parser("dsp", help=about, description=f"{about}\n\n{more}", formatter_class=RAW)
    add_arguments(command, data=dsp.TEST_FILE, output="outputs/dsp")
    command.add_argument("--prompts", type=Path, default=dsp.PROMPTS, help="folder of dsp_DOMAIN.txt; ours by default")
    command.add_argument("--max_length_ratio", type=float, default=1.25, help="of a length-matched pair")

    about = "Any preference pairs: a hub dataset, or a local JSON, JSONL, CSV or parquet file."
    more = f"Layouts read without further flags: {', '.join(dict.fromkeys(layout.name for layout in LAYOUTS))}."
    more += " Of other files name the columns: responses are texts or chat messages, several of each as lists."
    more = textwrap.fill(more, 100)
    command = kinds.add_parser("pairs", help=about, description=f"{about}\n\n{more}", formatter_class=RAW)
    add_arguments(command, data=None, output="outputs/pairs")
    command.add_argument("--preset", choices=pairs.PRESETS, help="a known dataset; other flags win over it")
    command.add_argument("--config_name", help="configuration of the dataset")
    for column, about in PAIR_COLUMNS.items():
        command.add_argument(f"--{column}_column", f"--{column}", dest=column, metavar="COLUMN", help=about)
    command.add_argument("--system_prompt", help="criterion to judge by, in place of the data's own")
    return parser


def source_of(args: argparse.Namespace):
    """EndoRM's scores where the flags ask for them, else None."""
    return endorm_source(args) if args.sweep or "endorm" in args.judge else None


def add_sweep(results: dict, benchmark, views: dict, source, args, title: str = "Sweep") -> tuple[str, dict]:
    """Markdown and panel of the sweep that --sweep asks for; its rows go into `results`."""
    if not args.sweep:
        return "", {}
    results["sweep"] = sweep(benchmark, views, source, args)
    table, panel = sweep_panels(results["sweep"])
    return f"\n## {title}\n\n{table}", panel


def judge_rm_bench(args: argparse.Namespace) -> tuple[str, dict, str, dict]:
    """RM-Bench: its name, results, page and panels of the figure."""
    comparisons = rm_bench.load(args.data, args.split or "train", chat=not args.no_chat, limit=args.limit)
    if args.system_prompt:
        comparisons = with_system(comparisons, args.system_prompt)
    source = source_of(args)
    verdicts = {label: v[""] for label, v in judge_views({"": comparisons}, args, source).items()}
    results = assess(rm_bench, comparisons, verdicts, args.draws)
    markdown = f"# RM-Bench, {args.model}\n\nAccuracy in percent (95 % interval)\n\n"
    markdown += judge_tables(results, rm_bench.columns(results["judges"]))
    panels = rm_bench.panels(results["judges"][args.judge[0]]["matrices"], args.judge[0])
    swept = add_sweep(results, rm_bench, {"": comparisons}, source, args)
    return "RM-Bench", results, markdown + swept[0], panels | swept[1]


def judge_dsp(args: argparse.Namespace) -> tuple[str, dict, str, dict]:
    """DSP: its name, results, page and panels of the figure."""
    comparisons = dsp.load(args.data, args.split or "train", chat=not args.no_chat, limit=args.limit)
    views = {domain: with_system(comparisons, text) for domain, text in dsp.system_prompts(args.prompts).items()}
    source = source_of(args)
    verdicts = judge_views(views, args, source)
    results: dict = {"views": {}, "tables": {}}
    for domain in views:
        of_domain = {label: v[domain] for label, v in verdicts.items()}
        options = {"max_length_ratio": args.max_length_ratio}
        results["views"][domain] = assess(dsp, comparisons, of_domain, args.draws, **options)
    results["steering"] = {
        label: dsp.steering(views, {domain: v.outcome for domain, v in of_judge.items()}, draws=args.draws)
        for label, of_judge in verdicts.items()
    }
    markdown = f"# DSP, {args.model}\n\nAccuracy in percent. Row: domain of the system prompt. Column: test domain.\n"
    panels = {}
    for label in verdicts:
        summaries = {domain: results["views"][domain]["judges"][label] for domain in views}
        results["tables"][label] = {}
        for variant in dsp.VARIANTS:
            table = results["tables"][label][variant.lstrip("_") or "all"] = dsp.table(summaries, variant)
            title = f"{label}{variant.replace('_', ' ')}"
            markdown += f"\n## {title}\n\n{dsp.table_page(table)}"
            if not variant:
                markdown += f"It adds {percent(results['steering'][label])} to the mean of the other prompts.\n"
            panels[title] = (table["accuracy"], table["rows"], table["columns"])
    for domain in views:
        markdown += f"\n## Judges under the {domain} prompt\n\n{judge_tables(results['views'][domain], dsp.COLUMNS)}"
    swept = add_sweep(results, dsp, views, source, args, "Sweep, mean of the diagonal")
    return "DSP", results, markdown + swept[0], panels | swept[1]


def judge_pairs(args: argparse.Namespace) -> tuple[dict, dict, str, dict]:
    """Pairs of one's own: where they are from, results, page and panels of the figure.

    Raises:
        ValueError: no pairs are named.
    """
    fields = {"name": args.data, "split": args.split, "config": args.config_name}
    fields |= {column: getattr(args, column) for column in PAIR_COLUMNS}
    fields = pairs.PRESETS.get(args.preset, {}) | {k: v for k, v in fields.items() if v is not None}
    comparisons = pairs.load(**fields, chat=not args.no_chat, limit=args.limit)
    if args.system_prompt:
        comparisons = with_system(comparisons, args.system_prompt)
    source = source_of(args)
    verdicts = {label: v[""] for label, v in judge_views({"": comparisons}, args, source).items()}
    results = assess(pairs, comparisons, verdicts, args.draws)
    columns = list(next(iter(results["judges"].values()))["scores"])
    markdown = f"# {fields['name']}, {args.model}\n\nAccuracy in percent (95 % interval)\n\n"
    markdown += judge_tables(results, columns)
    matrix = [[judge["scores"][c]["value"] for c in columns] for judge in results["judges"].values()]
    panels = {fields["name"]: (matrix, list(results["judges"]), columns)}
    swept = add_sweep(results, pairs, {"": comparisons}, source, args)
    return fields, results, markdown + swept[0], panels | swept[1]


JUDGED = {"rm_bench": judge_rm_bench, "dsp": judge_dsp, "pairs": judge_pairs}


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = commands()
    args = parser.parse_args(argv)
    if args.benchmark == "pairs" and not (args.data or args.preset):
        parser.error("name the pairs: --data FILE_OR_HUB_NAME, or --preset")
    settings = {name: value for name, value in vars(args).items() if name != "benchmark"}
    made = record(settings, argv if argv is None else ["scripts/eval_judges.py", *argv])
    benchmark, results, markdown, panels = JUDGED[args.benchmark](args)
    write(args.output, {"benchmark": benchmark} | made | results, markdown, panels)


if __name__ == "__main__":
    main()
