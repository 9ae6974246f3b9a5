"""What torch.compile is worth: scoring with the frozen base, and drawing responses, as they are and compiled.

    python scripts/bench/bench_compile.py --preset 1.5b --dtype bfloat16 --batch 16 --prompt_tokens 512 \
      --response_tokens 256 --output outputs/compile_1.5b.json

Scoring compiles the backbone with shapes that may change, as batches of responses have them. Drawing takes a static
cache, which transformers compiles by itself. Random weights, interleaved in one run; the first call of each, which
compiles, is timed apart. The GPU is used where there is one.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from scoring_rivals import ours
from transformers import PreTrainedModel

from rewards import FrozenBase
from rewards.reporting.tables import markdown_table
from train.cost.shapes import PRESETS, random_model
from train.cost.stopwatch import interleave, measurement, summarize, synchronize

BATCH_TOKENS = 8192  # of padded tokens in one forward, as in bench_scoring.py


def draw(model: PreTrainedModel, ids: torch.Tensor, tokens: int, cache: str | None) -> torch.Tensor:
    """Responses of exactly `tokens` tokens, greedily, so that all calls do the same work."""
    how = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": 0}
    return model.generate(ids, attention_mask=torch.ones_like(ids), cache_implementation=cache, **how)


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="tiny", help="Qwen2 shape with random weights")
    parser.add_argument("--vocab_size", type=int, default=151936, help="size of the vocabulary")
    parser.add_argument("--batch", type=int, default=8, help="responses")
    parser.add_argument("--prompt_tokens", type=int, default=64, help="of each prompt")
    parser.add_argument("--response_tokens", type=int, default=64, help="of each response")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the weights")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which each runs once")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain, other = (random_model(args.preset, args.vocab_size, getattr(torch, args.dtype), device) for _ in range(2))
    other.model.compile(dynamic=True)  # in place: the same module, so that the frozen base knows it
    ids = torch.randint(args.vocab_size, (args.batch, args.prompt_tokens + args.response_tokens), device=device)
    prompts = ids[:, : args.prompt_tokens]
    lists = (prompts.tolist(), ids[:, args.prompt_tokens :].tolist())
    runs = {
        "scoring": partial(ours, FrozenBase(plain, BATCH_TOKENS), *lists),
        "scoring, compiled": partial(ours, FrozenBase(other, BATCH_TOKENS), *lists),
        "drawing": partial(draw, plain, prompts, args.response_tokens, None),
        "drawing, static cache": partial(draw, plain, prompts, args.response_tokens, "static"),
    }
    first, given = {}, {}
    for name, run in runs.items():
        synchronize()
        start = time.perf_counter()
        given[name] = run()
        synchronize()
        first[name] = round(time.perf_counter() - start, 3)
    summary = {}
    for what in ("scoring", "drawing"):
        of_it = {name: run for name, run in runs.items() if name.startswith(what)}
        summary |= summarize(interleave(of_it, args.repeats), what)
    pairs = zip(given["scoring"], given["scoring, compiled"], strict=True)
    result = {
        "kind": "compile",
        **measurement({k: v for k, v in vars(args).items() if k != "output"}),
        "summary": summary,
        "first_call_seconds": first,
        "largest_deviation_nats": max(float((a - b).abs().max()) for a, b in pairs),
        "same_responses": bool((given["drawing"] == given["drawing, static cache"]).all()),
    }
    rows = [[name, row["median"], row[f"over {name.split(',')[0]}"], first[name]] for name, row in summary.items()]
    print(markdown_table(["", "median s", "over plain", "first call, s"], rows))
    print(f"largest deviation {result['largest_deviation_nats']:.2g} nats; same responses: {result['same_responses']}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
