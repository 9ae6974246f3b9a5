"""Evaluate the demo on a real chat model: base and trained policy on held-out questions, side by side.

Prints a table and writes results.json, results.md (with responses before and after), training.png, and lens.html, what
each token of two responses to one question earns. Responses are kept: a second call draws only what is missing.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rewards.reporting.record import record
from rewards.reporting.stages import run_stage
from rewards.reporting.tables import markdown_table, with_interval
from train.evaluation.training_figure import draw_training
from train.tasks.chat_evaluation import evaluate_chat
from train.tasks.chat_tasks import TASKS, ChatTask, question_of, read_rows

SCRIPT = Path(__file__).resolve()
ROOT = SCRIPT.parents[3]
EXAMPLES = 6


def table(policies: Sequence[Mapping]) -> str:
    """The evaluation rows as a Markdown table."""
    rows = []
    for row in policies:
        own = [f"{row['mean_tokens']:.1f}", f"{row['ended']:.2f}"] if "ended" in row else ["", ""]
        decoding = row["decoding"].replace("_", " ")
        rows.append([row["name"], decoding, f"{row['temperature']:.1f}", with_interval(row["accuracy"], *row["ci95"])])
        rows[-1] += [*own, row["n"], row["samples"]]
    headings = ["policy", "decoding", "T", "accuracy (95 % interval)", "tokens", "ended", "questions", "samples"]
    return markdown_table(headings, rows, left=2)


def finding(rows: Mapping[tuple[str, str], Mapping], name: str) -> str:
    """What the accuracies show and do not show, and what stopping earlier alone would give, in plain sentences."""
    before, greedy, after = rows["base", "sampled"], rows["base", "greedy"], rows[name, "sampled"]
    start = f"Sampled accuracy on held-out questions went from {before['accuracy']:.3f} to {after['accuracy']:.3f}"
    if after["ci95"][0] <= before["ci95"][1]:
        return f"{start}, which is no gain: the intervals overlap."
    sharper = (
        f"above the base's greedy {greedy['accuracy']:.3f}, with intervals apart"
        if after["ci95"][0] > greedy["ci95"][1]
        else f"where greedy decoding of the base already has {greedy['accuracy']:.3f}, so the gain is sharpening of "
        "what the base knows, and no new knowledge is shown"
    )
    return (
        f"{start}, {sharper}. What stopping alone would give: of the base's responses the first sentence alone is "
        f"right in {before['first_sentence']:.3f}."
    )


def pairs(task: ChatTask, rows: Sequence[Mapping], before: Path, after: Path) -> list[dict]:
    """Each question with the first sampled response of base and policy, and which of them are right."""

    def first(folder: Path) -> dict[int, str]:
        lines = (folder / "sampled.jsonl").read_text(encoding="utf-8").splitlines()
        drawn = [json.loads(line) for line in lines]
        return {int(r["id"]): r["text"] for r in drawn if r["sample"] == 0}

    texts = first(before), first(after)
    found = []
    for i, row in enumerate(rows):
        right = [task.is_correct(row, side[i]) for side in texts]
        found.append({"question": question_of(row["prompt"]), "before": texts[0][i], "after": texts[1][i]})
        found[-1] |= {"before_right": right[0], "after_right": right[1]}
    return found


def examples(found: Sequence[Mapping]) -> str:
    """The first few of `pairs` as a Markdown table, as they come: none is picked."""

    def cell(text: str, right: bool) -> str:
        shown = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
        return f"{'✓' if right else '✗'} {shown}"

    rows = [
        [p["question"], cell(p["before"], p["before_right"]), cell(p["after"], p["after_right"])]
        for p in found[:EXAMPLES]
    ]
    return markdown_table(["question", "base, sampled", "policy, sampled"], rows, left=3)


def lens(base: Path | str, found: Sequence[Mapping], output: Path, log: Path) -> str | None:
    """The page of the lens for the first question that the base had wrong and the policy has right; None without."""
    pair = next((p for p in found if p["after_right"] and not p["before_right"] and p["before"]), None)
    if pair is None:
        return None
    command = [sys.executable, "scripts/lens.py", "--model", str(base), "--chat", "--prompt", pair["question"]]
    command += ["--response", pair["after"], "--compare", pair["before"], "--output", str(output)]
    run_stage(command, log)
    return pair["question"]


def main(argv: list[str] | None = None) -> None:
    """Command line entry; leaves with a message that names the missing input if there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="capitals")
    parser.add_argument("--base", default="outputs/SmolLM2-135M-Instruct", help="folder or hub name of the base")
    parser.add_argument("--policy", type=Path, default=Path("outputs/demo/ppo"), help="folder of the trained policy")
    parser.add_argument("--name", default="ppo_endorm", help="name of the policy in the results")
    parser.add_argument(
        "--data", type=Path, default=Path("outputs/demo/data/heldout.jsonl"), help="held-out questions"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/demo"), help="folder for the results")
    parser.add_argument("--n", type=int, default=64, help="ask at most this many questions")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of the weights")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling")
    parser.add_argument("--seconds_so_far", type=float, default=0.0, help="wall seconds of the earlier stages")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    for path, remedy in (
        (args.data, "write it with scripts/experiments/self_improvement/write_questions.py"),
        (args.policy / "config.json", f"train the policy first, with --output_dir {args.policy}"),
    ):
        if not path.is_file():
            raise SystemExit(f"{path} not found: {remedy}")
    task, rows = TASKS[args.task], read_rows(args.data, args.n)
    folders = {"base": args.output / "samples/base", args.name: args.output / f"samples/{args.name}"}
    policies = []
    for name, model in (("base", args.base), (args.name, args.policy)):
        policies += evaluate_chat(name, model, task, rows, folders[name], args.seed, args.dtype)
    found = {(row["name"], row["decoding"]): row for row in policies}
    sentence = finding(found, args.name)
    compared = pairs(task, rows, folders["base"], folders[args.name])
    shown = lens(args.base, compared, args.output / "lens.html", args.output / "lens.txt")
    if (args.policy / "trainer_state.json").is_file():
        history = json.loads((args.policy / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
        levels = {f"base, {how}, held out": found["base", how]["accuracy"] for how in ("sampled", "greedy")}
        accuracy = f"rewards/{task.accuracy.rpartition('.')[2]}/mean"
        draw_training(history, args.output / "training.png", {accuracy: levels})
    results = {
        "policies": policies,
        "finding": sentence,
        "model": str(args.base),
        "task": args.task,
        "seconds": args.seconds_so_far + time.perf_counter() - start,
        "seed": args.seed,
    } | record(argv=None if argv is None else [SCRIPT.relative_to(ROOT), *argv])
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = f"{table(policies)}\n{sentence}\n\n{examples(compared)}"
    text += f"\nlens.html shows what each token earns in both responses to: {shown}\n" if shown else ""
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nresults.json, results.md, training.png, lens.html: {args.output} ({results['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
