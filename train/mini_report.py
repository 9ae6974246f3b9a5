"""The paper in miniature on one page: each claim, what the embedded experiments say to it, tables and figures."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from train.reward_table import interval
from train.tracking import git_commit


def above_zero(name: str, numbers: tuple[float, float, float], unit: str = "") -> str:
    """A sentence on a difference and its interval that claims no more than they do."""
    mean, low, high = numbers
    shown = f"{mean:+.3f}{unit} ({low:+.3f} to {high:+.3f})"
    if low > 0:
        return f"{name} is above zero: {shown}."
    if high < 0:
        return f"{name} is below zero: {shown}."
    return f"{name} is not told from zero: {shown}."


def reward_accuracy(results: list[dict]) -> str:
    """EndoRM against trained reward models on right and wrong responses, over the seeds."""
    free = [r["labels"]["endorm"][0]["accuracy"] for r in results]
    rivals = [max(row["accuracy"] for row in r["labels"]["bradley_terry"]) for r in results]
    labels = max(row["labels"] for r in results for row in r["labels"]["bradley_terry"])
    best = above_zero(
        f"EndoRM's accuracy less that of the best Bradley-Terry model with up to {labels:,} labels",
        interval([a - b for a, b in zip(free, rivals)]),
    )
    return f"EndoRM without labels prefers the right response in {interval(free)[0]:.3f} of pairs. {best}"


def prompted_reward(results: list[dict]) -> str:
    """Whether a system line makes the reward prefer its own domain."""
    wins = [r["steering"]["diagonal_wins"] for r in results]
    columns = len(results[0]["steering"]["winners"])
    cases = f"{sum(wins)} of {columns * len(wins)} cases ({len(wins)} seeds)"
    return f"A domain's own system line prefers its responses more than any other line does in {cases}."


def self_improvement(results: list[dict]) -> str:
    """The gain over the sampled base, beside what needs no training, and beside other rewards."""
    (result,) = results
    rows, controls = {row["name"]: row for row in result["rows"]}, result["controls"]
    sampled = [run["sampled"] for run in result["runs"] if run["name"] == "EndoRM dense"]
    parts = [above_zero("The gain of EndoRM, sampled, over the sampled base", rows["EndoRM dense"]["gain"])]
    for name, key in (("greedy decoding of the base", "greedy"), ("the base at temperature 0.3", "low_temperature")):
        difference = interval([a - b for a, b in zip(sampled, controls[key], strict=True)])
        parts.append(above_zero(f"The trained policy, sampled, less {name}", difference))
    for name in ("accuracy labels", "format only", "random"):
        parts.append(above_zero(f"The gain under {name}", rows[name]["gain"]))
    return " ".join(parts)


def second_round(results: list[dict]) -> str:
    """Whether a policy gains from a second round with its own reward, and more than from the first reward again."""
    names = {"first": "EndoRM dense", "second": "EndoRM dense, second round", "longer": "EndoRM dense, as long again"}
    runs = {key: [run for run in results[0]["runs"] if run["name"] == name] for key, name in names.items()}

    def difference(a: str, b: str, decoding: str) -> tuple[float, float, float]:
        return interval([x[decoding] - y[decoding] for x, y in zip(runs[a], runs[b], strict=True)])

    parts = [
        above_zero("The second round's gain, greedy,", difference("second", "first", "greedy")),
        above_zero("Sampled, it", difference("second", "first", "sampled")),
        above_zero(
            "Less what as many steps more of the first round give, it", difference("second", "longer", "sampled")
        ),
    ]
    return " ".join(parts)


def theorems(results: list[dict]) -> str:
    """Every verdict of the exact computation, in short."""
    found = results[0]["verdicts"]
    failed = [name for name, verdict in found.items() if not verdict["passed"]]
    counted = f"{len(found) - len(failed)} of {len(found)} checks pass on {results[0]['draws']['draws']:,} token MDPs."
    return counted + (f" Failed: {', '.join(failed)}." if failed else "")


def distillation(results: list[dict]) -> str:
    """A student's gain under its teacher's reward less that under its own."""
    parts = []
    for decoding in ("sampled", "greedy"):
        rows = [g for g in results[0]["gains"] if g["decoding"] == decoding]
        difference = interval([g["under_teacher"] - g["under_own"] for g in rows])
        parts.append(above_zero(f"The student's {decoding} gain under the teacher less that under itself", difference))
    return " ".join(parts)


def prompted_policy(results: list[dict]) -> str:
    """How far either criterion, read by the reward alone, moves the policy to its style."""
    rows = {(r["seed"], r["policy"]): r for r in results[0]["policies"]}
    seeds, parts = list(dict.fromkeys(seed for seed, _ in rows)), []
    for style in results[0]["criteria"]:
        after = [rows[seed, f"PPO under {style}"][style]["share"] for seed in seeds]
        before = [rows[seed, "base, no criterion"][style]["share"] for seed in seeds]
        rise = interval([a - b for a, b in zip(after, before)])
        parts.append(above_zero(f"The rise of the share of {style} responses under that criterion", rise))
    return " ".join(parts)


CLAIMS: list[tuple[str, Callable, list[str]]] = [
    ("The reward is already inside (section 4.1)", reward_accuracy, ["judge0", "judge1", "judge2"]),
    ("A prompt changes what it prefers (section 4.2)", prompted_reward, ["judge0", "judge1", "judge2"]),
    ("RL with it improves the model (section 4.3)", self_improvement, ["rewards"]),
    ("A second round gains nothing (section 3.3)", second_round, ["rewards"]),
    ("Theorems 1 and 2", theorems, ["theory"]),
    ("A teacher's reward teaches a student (outlook)", distillation, ["distillation"]),
    ("A criterion steers the policy (outlook)", prompted_policy, ["steering"]),
]


def page(folder: Path) -> str:
    """The page as Markdown: a table of claims and verdicts, then each stage's own table and figures.

    Raises:
        SystemExit: a stage without results.
    """
    stages = list(dict.fromkeys(stage for *_, used in CLAIMS for stage in used))
    if missing := [stage for stage in stages if not (folder / stage / "results.json").is_file()]:
        raise SystemExit(f"no results of {', '.join(missing)} in {folder}: run bash scripts/reproduce_mini.sh first")
    results = {s: json.loads((folder / s / "results.json").read_text(encoding="utf-8")) for s in stages}
    lines = [
        "# The paper in miniature",
        "",
        "arXiv 2506.23235 at embedded size: models of 0.1 to 0.4 million parameters, trained from scratch on "
        "synthetic tasks, by `bash scripts/reproduce_mini.sh`. Intervals are 95 %, over seeds by Student's t where "
        f"there are several. Commit {git_commit()}.",
        "",
        "| claim | what these experiments say |",
        "|---|---|",
    ]
    lines += [f"| {claim} | {judge([results[stage] for stage in used])} |" for claim, judge, used in CLAIMS]
    for stage in stages:
        lines += ["", f"## {stage}", ""]
        texts = (p.read_text(encoding="utf-8").strip() for p in sorted((folder / stage).glob("*.md")))
        lines += [re.sub("^#", "###", text, flags=re.MULTILINE) for text in texts]
        lines += ["", *(f"![{stage}]({stage}/{p.name})" for p in sorted((folder / stage).glob("*.png")))]
    return "\n".join(lines) + "\n"
