"""Does a chat model become a better judge when GRPO pays it for right verdicts?

    python scripts/experiments/trained_judge/train_judge.py --model outputs/SmolLM2-135M-Instruct

The model writes a capital and then which of two responses names it. configs/demo/judge_grpo.yaml trains it on some
countries. Base and policies judge pairs of others, greedily and in both orders, beside two judges of the same base
that write nothing: the logits of the pairwise judge, and EndoRM. Writes results.json, results.md and accuracy.png.
"""

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rewards import EndoRM, FrozenBase, PairwiseJudge
from rewards.frozen.loading import load_causal_lm
from rewards.judges.verdicts import parse_choice
from rewards.reporting.bars import draw_bars
from rewards.reporting.intervals import bootstrap_mean
from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import markdown_table, with_interval, write_between
from rewards.right_verdict import VERDICTS
from train.evaluation.sampling import Decoding, TransformersSampler, sample
from train.tasks.capitals import question_of
from train.tasks.judge_pairs import sentence, write_splits

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
RECIPE = ROOT / "configs/demo/judge_grpo.yaml"
BASE, TRAINED, LOGITS, ENDORM = "base, written", "GRPO, written", "base, pairwise logits", "base, EndoRM"
MAX_TOKENS = 24  # of a verdict with its reason


def train(seed: int, args: argparse.Namespace, folder: Path) -> list[dict]:
    """A training, if it is not there to its last update: what it logged, a row a rollout with "reward" and
    "unparsable", both 0 to 1."""
    command = [*LAUNCH_ONE, str(ROOT / "train/grpo_endorm.py"), "--config", str(RECIPE)]
    command += ["--model_name_or_path", str(args.model), "--dataset_name", str(args.output / "data/train.jsonl")]
    command += ["--output_dir", str(folder), "--seed", str(seed), "--max_steps", str(args.max_steps)]
    command += ["--resume_from_checkpoint", "latest"]  # of one that was told to stop
    state = folder / "trainer_state.json"
    if not state.is_file() or json.loads(state.read_text(encoding="utf-8"))["global_step"] != args.max_steps:
        run_stage(command, folder.with_suffix(".txt"))
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
    return [
        {"reward": round(row["rewards/right_verdict/mean"], 4), "unparsable": row["right_verdict/unparsable"]}
        for row in history
        if "rewards/right_verdict/mean" in row
    ]


def written(model: Path, rows: Sequence[dict], path: Path) -> list[tuple[str | None, str]]:
    """The verdict that a model writes on each row, None without one, and its whole text; greedy, in fp32."""
    ids, prompts = [str(i) for i in range(len(rows))], [row["prompt"] for row in rows]
    how = Decoding(max_tokens=MAX_TOKENS)
    drawn = sample(path, str(model), ids, prompts, how, partial(TransformersSampler, str(model), "float32"))
    return [(parse_choice(row["text"], VERDICTS), row["text"]) for row in drawn]


def unwritten(model: Path, rows: Sequence[dict]) -> dict[str, list[str]]:
    """The verdict of the base's logits, and that of its EndoRM, on each row."""
    loaded, tokenizer = load_causal_lm(str(model), torch.float32, "cpu")
    base = FrozenBase(loaded)
    shown = [[row["right"], row["wrong"]][:: 1 if row["winner"] == "A" else -1] for row in rows]
    texts = [[sentence(row["country"], capital) for capital in both] for row, both in zip(rows, shown)]
    questions = [question_of(row["country"]) for row in rows]
    judge = PairwiseJudge(base, tokenizer)
    asked = [{"prompt": q, "response_a": a, "response_b": b} for q, (a, b) in zip(questions, texts)]
    by_logits = judge.asked_judge().log_probs(judge.template, asked, judge.answers)
    chats = [[{"role": "user", "content": question}] for question in questions]
    scores = [EndoRM(base, tokenizer).score(chats, list(side)) for side in zip(*texts)]
    return {
        LOGITS: [VERDICTS[b > a] for a, b in by_logits.tolist()],
        ENDORM: [VERDICTS[b > a] for a, b in zip(*scores)],
    }


def summary(judge: str, seed: int | None, verdicts: Sequence[str | None], rows: Sequence[dict]) -> dict:
    """What the table shows of a judge: shares of questions, with the bootstrap's interval over pairs, since the two
    orders of a pair are not independent."""
    right = np.array([verdict == row["winner"] for verdict, row in zip(verdicts, rows)], dtype=float).reshape(-1, 2)
    mean, ends = bootstrap_mean(right.mean(1, keepdims=True))
    given = [verdict for verdict in verdicts if verdict is not None]
    return {
        "judge": judge,
        "seed": seed,
        "accuracy": float(mean[0]),
        "ci95": [float(end) for end in ends[0]],
        "both_orders": float(right.min(1).mean()),
        "says_a": given.count("A") / len(given) if given else None,
        "unparsable": 1 - len(given) / len(verdicts),
        "pairs": len(right),
        "verdicts": "".join(verdict or "-" for verdict in verdicts),
    }


def reasons(said: Sequence[tuple[str | None, str]], rows: Sequence[dict]) -> dict:
    """What the written reasons are worth: the share that names the right capital, and among those that name one of the
    two shown the share whose verdict is for the response that names it."""
    named = [(row["right"] in text, row["wrong"] in text) for (_, text), row in zip(said, rows)]
    of_one = [
        (verdict is not None) and (verdict == row["winner"]) == right
        for (verdict, _), row, (right, wrong) in zip(said, rows, named)
        if right != wrong
    ]
    return {
        "reason_right": sum(right for right, _ in named) / len(rows),
        "follows_reason": sum(of_one) / len(of_one) if of_one else None,
    }


def markdown(rows: Sequence[dict]) -> str:
    """A row for each judge and seed."""
    table = []
    for row in rows:
        keys = ("both_orders", "says_a", "unparsable", "reason_right", "follows_reason")
        cells = ["–" if row.get(key) is None else f"{row[key]:.3f}" for key in keys]
        seed = "" if row["seed"] is None else row["seed"]
        table.append([row["judge"], seed, with_interval(row["accuracy"], *row["ci95"]), *cells])
    headings = ["right", "right in both orders", "says A", "no verdict", "reason right", "verdict follows reason"]
    return markdown_table(["judge", "seed", *headings], table)


def committed_table() -> str:
    """The README's table, from results/results.json."""
    return markdown(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["rows"])


def draw(rows: Sequence[dict], path: Path) -> None:
    """Accuracy of base and policy by seed, and of the judges that write nothing."""
    of = {row["judge"]: (row["accuracy"], row["ci95"]) for row in rows if row["seed"] is None}
    panels: dict = {"held-out pairs": {}}
    for row in (row for row in rows if row["seed"] is not None):
        panels["held-out pairs"][row["seed"]] = [of[LOGITS], of[ENDORM], of[BASE], (row["accuracy"], row["ci95"])]
    draw_bars(panels, [LOGITS, ENDORM, BASE, TRAINED], "right verdicts", path)


def main(argv: list[str] | None = None) -> None:
    """Command line entry: the base's judges, every training, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("outputs/SmolLM2-135M-Instruct"), help="folder of the base")
    parser.add_argument("--output", type=Path, default=Path("outputs/trained_judge"), help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    parser.add_argument("--max_steps", type=int, default=48, help="updates of a training, two a rollout")
    parser.add_argument("--n_heldout", type=int, default=64, help="countries that training does not name")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    start = time.perf_counter()
    made = record(
        {k: v for k, v in vars(args).items() if k != "write_readme"},
        None if argv is None else [SCRIPT.relative_to(ROOT), *argv],
    )
    torch.set_num_threads(1)
    _, heldout = write_splits(args.output / "data", args.n_heldout)
    rows = [json.loads(line) for line in heldout.read_text(encoding="utf-8").splitlines()]
    found = [summary(name, None, verdicts, rows) for name, verdicts in unwritten(args.model, rows).items()]
    examples, trainings = {}, {}
    for seed in [None, *args.seeds]:
        folder = args.model if seed is None else args.output / f"grpo_seed{seed}"
        if seed is not None:
            trainings[seed] = train(seed, args, folder)
        said = written(folder, rows, args.output / ("base.jsonl" if seed is None else f"grpo_seed{seed}.jsonl"))
        name = BASE if seed is None else TRAINED
        found.append(summary(name, seed, [verdict for verdict, _ in said], rows) | reasons(said, rows))
        examples[name if seed is None else f"{name}, seed {seed}"] = [text for _, text in said[:4]]
    seconds = round(time.perf_counter() - start)
    results = {"rows": found, "trainings": trainings, "examples": examples, "seconds": seconds} | made
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (args.output / "results.md").write_text(markdown(found), encoding="utf-8")
    draw(found, args.output / "accuracy.png")
    print(f"{markdown(found)}\nWrote results.json, results.md and accuracy.png to {args.output} ({seconds} s)")


if __name__ == "__main__":
    main()
