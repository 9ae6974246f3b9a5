"""One page on what a training did: the paper's table, controls, paired differences, curves, signs of a collapse.

    python scripts/report.py outputs/run                                       # a training's curves and signs
    python scripts/report.py base=outputs/eval_base policy=outputs/eval_run outputs/run
    python scripts/report.py base=EVAL greedy=EVAL low_temperature=EVAL policy=EVAL labels=EVAL format=EVAL \\
        random=EVAL outputs/run outputs/run_random --output outputs/report

EVAL is a folder that scripts/eval_math.py wrote, EVAL@MODEL one of several models in it (a checkpoint of a series).
Its role goes before it:

    policy           the trained model
    base             its base, sampled as the policy is; its majority vote is a control of its own
    greedy           the base with --temperature 0
    low_temperature  the base at a temperature below that of base=
    labels, format, random   models trained under the label, format_only and random rewards

A control that is not given is named on the page as missing. A folder without a role is a training run, or an
evaluation that only the first table shows. Writes report.md, report.json and figures.
"""

import argparse
import json
from pathlib import Path

from rewards.reporting.record import record
from train.evaluation.differences import (
    ROLES,
    collapse_signs,
    common_benchmarks,
    compare,
    conclusions,
    differences_in_settings,
)
from train.evaluation.folders import Evaluation, Run, read_evaluation, read_run
from train.evaluation.page import (
    RESPONSES,
    accuracy_table,
    differences_table,
    draw_curves,
    draw_differences,
    provenance,
    responses_table,
    run_section,
    settings_table,
)

NAMES = [role for role in ROLES if role != "majority"]  # the majority is that of the base's samples


def read(places: list[str]) -> tuple[dict[str, Evaluation], list[Evaluation], list[Run]]:
    """Evaluations by role, those without one, and training runs."""
    roles, others, runs = {}, [], []
    for place in places:
        role, equals, folder = place.partition("=")
        if equals and role in NAMES:
            if role in roles:
                raise ValueError(f"{role}= is given twice; write a report for each")
            roles[role] = read_evaluation(folder, role)[0]
        elif equals and not Path(place).exists():
            raise ValueError(f"{place}: the role {role!r} is none of {', '.join(NAMES)}")
        else:
            is_evaluation = (Path(place) / "results.json").is_file() or ("@" in place and not Path(place).exists())
            is_run = any((Path(place) / name).is_file() for name in ("metrics.jsonl", "trainer_state.json"))
            others += read_evaluation(place) if is_evaluation else []
            runs += [read_run(place)] if is_run or not is_evaluation else []
    low, base = roles.get("low_temperature"), roles.get("base")
    if low and base and low.facts["settings"]["temperature"] >= base.facts["settings"]["temperature"]:
        raise ValueError("low_temperature= was not sampled at a lower temperature than base=; exchange or repeat them")
    return roles, others, runs


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", metavar="[ROLE=]FOLDER", help="evaluations and training runs")
    parser.add_argument("--output", type=Path, default=Path("outputs/report"), help="folder for the page")
    parser.add_argument("--draws", type=int, default=10_000, help="of the bootstrap")
    args = parser.parse_args(argv)
    try:
        roles, others, runs = read(args.places)
        outcomes, responses = {}, {}
        benchmarks, lacking = common_benchmarks(roles)
        if "policy" in roles:
            policy = roles["policy"]
            for role, other in roles.items():
                if role == "policy":
                    continue
                pairs = {"accuracy": (policy.accuracy, other.accuracy)}
                if role == "base":
                    pairs |= {figure: (figure, figure) for figure in RESPONSES}
                if role == "base" and other.majority:
                    pairs["majority"] = (policy.accuracy, other.majority)
                found = compare(policy, other, pairs, benchmarks, args.draws)
                outcomes[role] = found.pop("accuracy")
                if "majority" in found:
                    outcomes["majority"] = found.pop("majority")
                responses |= found
        outcomes = {role: outcomes[role] for role in ROLES if role in outcomes}
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    given = {*roles, *(["majority"] if "base" in roles and roles["base"].majority else [])}
    unlike = {role: differences_in_settings(roles, role) for role in roles if role != "policy" and "policy" in roles}
    evaluations = [*(roles[role] for role in NAMES if role in roles), *others]
    said = conclusions(outcomes, unlike, given)

    args.output.mkdir(parents=True, exist_ok=True)
    parts = ["# Report", "## What is shown and what is not", "\n".join(f"- {line}" for line in said)]
    if evaluations:
        parts += ["## Accuracy", accuracy_table(evaluations, args.draws)]
    if outcomes:
        draw_differences(outcomes, args.output / "differences.png")
        parts += ["## Paired differences", differences_table(outcomes, lacking), "![Differences](differences.png)"]
    if evaluations:
        parts += ["## Responses", responses_table(evaluations, responses)]
        parts += ["## How it was evaluated", settings_table(evaluations)]
    if runs:
        parts.append("## Training")
        if draw_curves(runs, args.output / "training.png"):
            parts.append("![Training curves](training.png)")
        parts += [run_section(run) for run in runs]
    parts += ["## Provenance", provenance(evaluations, runs)]
    facts = {
        **record(argv=argv if argv is None else ["scripts/report.py", *argv]),
        "conclusions": said,
        "policy_minus": outcomes,
        "responses_policy_minus_base": responses,
        "not_alike": unlike,
        "collapse_signs": {run.name: collapse_signs(run) for run in runs},
    }
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    (args.output / "report.md").write_text(text, encoding="utf-8")
    (args.output / "report.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{text}\nWrote report.md, report.json and figures to {args.output}")


if __name__ == "__main__":
    main()
