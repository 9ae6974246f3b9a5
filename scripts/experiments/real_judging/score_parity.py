"""The same responses scored one at a time, as the method was first published, and by the project: scores and seconds.

    python scripts/experiments/real_judging/score_parity.py --model M --data chat.jsonl --reference_script FILE

The published way takes one prompt and response as texts, without template and without end token, computes the logits
of the whole sequence and goes through its tokens in a Python loop. A file with a function seed_reward(model,
tokenizer, prompt, response, gamma=, beta=) does it, or without one the loop of scripts/bench/scoring_rivals.py. The
project reads the end token too, as its judges do, and leaves it out of the sum; what it computes goes into the cache.

Both take turns on chunks of responses of about equal length, each first in every other chunk. Every chunk is a line of
a file, so that the command goes on after a kill.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rewards.frozen.encoding import encode_prompt, encode_response
from rewards.frozen.sweep import ScoredResponses, Setting
from rewards.preferences import rm_bench
from rewards.preferences.comparisons import outcomes
from rewards.preferences.judging import EndoRMScores
from rewards.reporting.intervals import percentiles, resampled_means
from train.cost.stopwatch import measurement

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
from scoring_rivals import per_response_loop  # noqa: E402

EDGES = (64, 128, 256, 512)  # tokens of a response: the last of each bucket but the longest
CLOCKS = {"seconds": time.perf_counter, "processor_seconds": time.process_time}
DECIDES = ("model", "data", "limit", "reference_script", "discount", "floor", "chunk", "batch_tokens")
OURS, THEIRS = "ours", "one at a time"


def bucket_of(tokens: int) -> str:
    """The bucket of lengths that a response of so many tokens is in."""
    low = 1
    for edge in EDGES:
        if tokens <= edge:
            return f"{low} to {edge}"
        low = edge + 1
    return f"over {EDGES[-1]}"


def chunks_of(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices of responses, at most `size` of one bucket a chunk, in the order of their lengths."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    chunks: list[list[int]] = []
    for i in order:
        last = chunks[-1] if chunks else []
        if last and len(last) < size and bucket_of(lengths[last[0]]) == bucket_of(lengths[i]):
            last.append(i)
        else:
            chunks.append([i])
    return chunks


def read_chunks(record: Path, settings: dict) -> list[dict]:
    """The chunks that a file has, which is begun with the settings where it is not there.

    Raises:
        SystemExit: it was made with other settings.
    """
    # a kill may have left half a line, without its end
    lines = record.read_text(encoding="utf-8").split("\n")[:-1] if record.is_file() else [json.dumps(settings)]
    found, *chunks = map(json.loads, lines)
    if found != settings:
        raise SystemExit(f"{record} is of {found}: name another --output, or delete it.")
    record.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return chunks


def timed(run: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `run` gives, and how long it took by the clock and of the processor."""
    starts = {name: clock() for name, clock in CLOCKS.items()}
    given = run()
    return given, {name: clock() - starts[name] for name, clock in CLOCKS.items()}


def load_reference(script: Path) -> Callable:
    """The function seed_reward of a Python file.

    Raises:
        ValueError: no Python file, or it has no such function.
    """
    spec = importlib.util.spec_from_file_location("reference_script", script)
    if spec is None or not Path(script).is_file():
        raise ValueError(f"{script} is no Python file: name one that has a function seed_reward.")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    if not hasattr(module, "seed_reward"):
        raise ValueError(
            f"{script} has no function seed_reward(model, tokenizer, prompt, response, gamma=): write one."
        )
    return module.seed_reward


def score_chunks(args: argparse.Namespace, comparisons, record: Path) -> list[dict]:
    """One row a chunk: its bucket, its responses, and the scores and seconds of both. Those in `record` are read."""
    source = EndoRMScores(args.model, args.cache, dtype="float32", batch_tokens=args.batch_tokens)
    tokenizer, setting = source.tokenizer, Setting(discount=args.discount, floor=args.floor, end_token=False)
    places = [(g, r) for g, group in enumerate(comparisons.groups) for r in range(len(group.responses))]
    texts = [(comparisons.groups[g].prompt, comparisons.groups[g].responses[r]) for g, r in places]
    prompts = [encode_prompt(tokenizer, prompt) for prompt, _ in texts]
    responses = [encode_response(tokenizer, text, append_eos=False) for _, text in texts]
    ended = [[*ids, tokenizer.eos_token_id] for ids in responses]
    done = read_chunks(record, {name: str(getattr(args, name)) for name in DECIDES})
    chunks = chunks_of([len(ids) for ids in responses], args.chunk)
    if len(done) < len(chunks):
        model = source.base().model

    def ours(rows: list[int]) -> tuple[list[float], list]:
        scores = source.base().score([prompts[i] for i in rows], [ended[i] for i in rows], share_prompts=True)
        return ScoredResponses(scores).rewards(setting).tolist(), scores

    def theirs(rows: list[int]) -> tuple[list[float], None]:
        if args.reference_script is None:
            ids = [prompts[i] for i in rows], [responses[i] for i in rows]
            return per_response_loop(model, *ids, args.discount, args.floor), None
        reference = load_reference(args.reference_script)
        return [reference(model, tokenizer, *texts[i], gamma=args.discount, beta=args.floor) for i in rows], None

    for number in tqdm(range(len(done), len(chunks)), desc="both ways", unit="chunk"):
        rows = chunks[number]
        row: dict = {"bucket": bucket_of(len(responses[rows[0]])), "tokens": sum(len(responses[i]) for i in rows)}
        row["places"] = [places[i] for i in rows]
        kept = []
        for name, way in [(OURS, ours), (THEIRS, theirs)][:: 1 if number % 2 else -1]:
            (scores, tokens), clocks = timed(lambda way=way, rows=rows: way(rows))
            row[name] = {"scores": scores} | clocks
            kept = tokens or kept
        source.cache.keep([prompts[i] for i in rows], [ended[i] for i in rows], kept)
        done.append(row)
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    return done


def ratio(rows: Sequence[dict], clock: str) -> dict[str, float | None]:
    """Seconds of the one-at-a-time way over ours, with an interval from chunks drawn with replacement."""
    values = np.array([[row[name][clock] for name in (THEIRS, OURS)] for row in rows])
    drawn = np.concatenate([values.mean(0, keepdims=True), resampled_means(values, [False, False])])
    return percentiles({"ratio": drawn[:, 0] / drawn[:, 1]})["ratio"]


def summarise(rows: Sequence[dict]) -> dict:
    """Responses, tokens, largest difference of scores in nats, seconds of both, and ratios."""
    differences = [abs(a - b) for row in rows for a, b in zip(row[OURS]["scores"], row[THEIRS]["scores"], strict=True)]
    totals = {c: {name: sum(row[name][c] for row in rows) for name in (OURS, THEIRS)} for c in CLOCKS}
    return {
        "responses": len(differences),
        "chunks": len(rows),
        "tokens": sum(row["tokens"] for row in rows),
        "largest_difference_nats": max(differences),
        "over_1e-3": sum(d > 1e-3 for d in differences),
        **totals,
        "ratio": {clock: ratio(rows, clock) for clock in CLOCKS},
    }


def compared(comparisons, rows: Sequence[dict]) -> dict:
    """How many of the comparisons of responses the two ways decide alike."""
    won = {}
    for name in (OURS, THEIRS):
        table = [[float("nan")] * len(group.responses) for group in comparisons.groups]
        for row in rows:
            for (g, r), score in zip(row["places"], row[name]["scores"], strict=True):
                table[g][r] = score
        won[name] = outcomes(comparisons, table)
    return {"comparisons": len(comparisons), "decided_alike": int((won[OURS] == won[THEIRS]).sum())} | {
        f"accuracy, {name}": rm_bench.summary(comparisons, outcome, draws=1)["scores"]["chat_average"]["value"]
        for name, outcome in won.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name or folder; loaded in fp32")
    parser.add_argument("--data", required=True, help="rows of RM-Bench, file or hub name")
    parser.add_argument("--limit", type=int, help="evenly spaced rows to use, default all")
    parser.add_argument("--reference_script", type=Path, help="Python file with seed_reward(model, tokenizer, ...)")
    parser.add_argument("--discount", type=float, default=0.95)
    parser.add_argument("--floor", type=float, default=0.0)
    parser.add_argument("--chunk", type=int, default=24, help="responses in a turn")
    parser.add_argument("--batch_tokens", type=int, default=8192, help="padded tokens in one forward of ours")
    parser.add_argument("--cache", default="outputs/score_cache", help="folder of per-token scores, to which ours go")
    parser.add_argument("--output", type=Path, default=Path("outputs/score_parity"), help="folder")
    parser.add_argument("--machine", default="", help="what else ran on the machine, to be kept beside the seconds")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    made = measurement(vars(args) | {"reference_script": args.reference_script and args.reference_script.name})
    comparisons = rm_bench.load(args.data, chat=False, limit=args.limit)
    rows = score_chunks(args, comparisons, args.output / "chunks.jsonl")
    buckets = {
        name: [row for row in rows if row["bucket"] == name] for name in dict.fromkeys(r["bucket"] for r in rows)
    }
    results = {
        "way": "the loop of scripts/bench/scoring_rivals.py" if args.reference_script is None else "the given script",
        "settings_of_ours": vars(Setting(discount=args.discount, floor=args.floor, end_token=False)) | {"chat": False},
        "all": summarise(rows),
        "buckets": {name: summarise(members) for name, members in buckets.items()},
        **compared(comparisons, rows),
        **made,
    }
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results["all"], indent=1))


if __name__ == "__main__":
    main()
