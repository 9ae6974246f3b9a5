"""Does a second round of training, under the reward of the policy that the first round made, gain anything?

Reads results/rewards.json, or the results.json that `reproduce.sh` writes to outputs/paper/rewards, and prints two
tables: what each reward made of the base, and paired differences between rounds. Trains nothing.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from rewards.reporting.intervals import student
from rewards.reporting.tables import markdown_table, with_interval, write_between

SCRIPT = Path(__file__)
RESULTS, README = SCRIPT.parent / "results", SCRIPT.with_name("README.md")
ONE, TWO, LONGER = "EndoRM dense", "EndoRM dense, second round", "EndoRM dense, as long again"
DECODINGS = ("sampled", "greedy")
COMPARED = ((TWO, ONE), (LONGER, ONE), (TWO, LONGER))


def difference(report: Mapping, name: str, over: str, decoding: str) -> tuple[float, float, float]:
    """Mean accuracy that ``name`` has more than ``over``, paired by seed, with its 95 % interval over seeds."""
    accuracy = {(run["name"], run["seed"]): run[decoding] for run in report["runs"]}
    return student([accuracy[name, seed] - accuracy[over, seed] for seed in report["settings"]["seeds"]])


def markdown(report: Mapping) -> str:
    """Both tables."""
    ends = [
        [row["name"], with_interval(*row["sampled"]), with_interval(*row["greedy"]), row["verdict"]]
        for row in report["rows"]
    ]
    pairs = [
        [f"{name}, less {over}", *(with_interval(*difference(report, name, over, d), "+.3f") for d in DECODINGS)]
        for name, over in COMPARED
    ]
    first = markdown_table(["reward", *DECODINGS, "sampled, beside what it began from"], ends)
    return f"{first}\n{markdown_table(['difference of accuracy', *DECODINGS], pairs)}"


def committed_table() -> str:
    """The README's tables, from results/rewards.json."""
    return markdown(json.loads((RESULTS / "rewards.json").read_text(encoding="utf-8")))


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS / "rewards.json", help="what compare_rewards.py wrote")
    parser.add_argument("--write_readme", action="store_true", help="only write the tables of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    print(markdown(json.loads(args.results.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
