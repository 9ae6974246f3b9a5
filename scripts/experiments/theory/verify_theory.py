"""The theorems of arXiv 2506.23235 in numbers: exact dynamic programming on small token MDPs, no model, no download.

Checks eq. 12, Theorems 1 and 2, section 3.3 and the optimum under a KL penalty on random token MDPs (every response
enumerated, the exact worst imitator within eps), and fits how the worst gaps grow on constructions of up to 1,024
tokens.

Writes results.json, theory.md and theory.png; the exit code is 1 if a check failed. Takes about a minute on one core.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from theory_checks import SIZES, verify_draws
from theory_growth import constructed_growth, random_growth
from theory_report import draw, markdown, short_table, summary
from theory_verdicts import verdicts

from rewards.reporting.record import record
from rewards.reporting.tables import write_between

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]


def committed() -> dict:
    """What results/results.json holds."""
    return json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))


def committed_table() -> str:
    """The README's tables, from results/results.json."""
    return short_table(committed())


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/theory"), help="folder for the results")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws")
    parser.add_argument("--draws", type=int, default=12_000, help=f"random MDPs, spread over {len(SIZES)} sizes")
    parser.add_argument("--growth_draws", type=int, default=200, help="random MDPs for each point of a growth curve")
    said = "only write the tables of results/ to the README, and the page theory.md beside them"
    parser.add_argument("--write_readme", action="store_true", help=said)
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        (RESULTS / "theory.md").write_text(markdown(committed()), encoding="utf-8")
        return 0
    if args.draws < len(SIZES) or args.growth_draws < 2:
        parser.error(f"--draws must be at least {len(SIZES)}, one for each size, and --growth_draws at least 2")
    start, cpu_start = time.perf_counter(), time.process_time()
    settings = {"draws": args.draws, "growth_draws": args.growth_draws}
    made = record(settings, None if argv is None else [SCRIPT.relative_to(ROOT), *argv])

    drawn = verify_draws(args.draws, args.seed)
    results = {"draws": summary(drawn), "growth": constructed_growth() + random_growth(args.growth_draws, args.seed)}
    results["verdicts"] = verdicts(results["draws"], results["growth"])
    results["passed"] = all(found["passed"] for found in results["verdicts"].values())
    results |= {"seed": args.seed} | made
    # the second is what it takes where the cores are not shared with other work
    results |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}

    args.output.mkdir(parents=True, exist_ok=True)
    draw(results["growth"], drawn["bounds"]["Theorem 1"], args.output / "theory.png")
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (args.output / "theory.md").write_text(markdown(results), encoding="utf-8")
    for name, found in results["verdicts"].items():
        print(f"\n{'pass' if found['passed'] else 'FAIL'}  {name}: {found['verdict']}")
    print(f"\nWrote results.json, theory.md and theory.png to {args.output} ({results['seconds']:.0f} s)")
    return 0 if results["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
