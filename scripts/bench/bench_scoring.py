"""Time EndoRM's per-token scoring beside its rivals, interleaved in one run.

    python scripts/bench/bench_scoring.py --preset tiny --output scripts/bench/results/scoring.json
    python scripts/bench/bench_scoring.py --model outputs/SmolLM2-135M-Instruct --prompt_tokens 61 \
      --response_tokens chat --batch 24 --output scripts/bench/results/scoring_smollm2.json

Limits: `products`, the bare matrix products of the same batches (bare_products.py); `limit`, the backbone's forward
plus the bare fp32 head product over the same states, results thrown away; `blocked_limit`, the same with the product
in our blocks into one buffer. Rivals: `naive`, the full logits of the padded batch in fp32; `per_response_loop`, one
response at a time with a Python loop over its tokens, as the method was published; `trl_fused_head`, as TRL's GRPO
computes log-probs; `cut_cross_entropy` and `liger` (log-probs) from their packages (pip install 'endorm[bench]');
with --bf16 `bf16_autocast` and `bf16_weights`, ours with the backbone's products or all but the head in bfloat16; with
--responses_per_prompt `apart`, ours without sharing prompts. The GPU is used where there is one.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scoring_rivals import deviation, exact, rivals
from transformers import PreTrainedModel

from rewards.frozen.lm_head import BLOCKS
from rewards.frozen.loading import load_causal_lm
from train.cost.shapes import PRESETS, random_model
from train.cost.stopwatch import MIB, extra_memory, interleave, measurement, summarize

EXACT_ROWS = 2  # responses, the first ones, that are computed in float64 too


# Tokens of SmolLM2-135M-Instruct, sixteenth by sixteenth from the shortest to the longest: of the 774 responses of
# RM-Bench chat, and of 640 that it drew for the demo's questions, where at most 24 are asked for.
LENGTHS = {
    "chat": (12, 29, 34, 41, 47, 55, 153, 278, 354, 407, 434, 454, 472, 490, 501, 512, 548),
    "demo": (6, 9, 11, 12, 15, 21, *[24] * 11),
}


def token_range(text: str) -> tuple[int, ...]:
    """`256` or `16:512`: least and most tokens of a response; or the quantiles of a name in LENGTHS."""
    if text in LENGTHS:
        return LENGTHS[text]
    low, _, high = text.partition(":")
    low, high = int(low), int(high or low)
    if not 0 < low <= high:
        raise ValueError
    return low, high


def lengths_of(quantiles: Sequence[int], n: int, generator: torch.Generator) -> list[int]:
    """Tokens of n responses: drawn between two ends, or at n evenly spaced places of several quantiles."""
    if len(quantiles) == 2:
        return torch.randint(quantiles[0], quantiles[1] + 1, (n,), generator=generator).tolist()
    places = (np.arange(n) + 0.5) / n * (len(quantiles) - 1)
    return np.interp(places, np.arange(len(quantiles)), quantiles).round().astype(int).tolist()


def made_model(args: argparse.Namespace, device: str) -> PreTrainedModel:
    """The model with its own weights, or random ones of a shape."""
    dtype = getattr(torch, args.dtype)
    if args.model is None:
        return random_model(args.preset, args.vocab_size, dtype, device)
    model, _ = load_causal_lm(args.model, dtype, device)
    args.preset, args.vocab_size = Path(args.model).name, len(model.lm_head.weight)
    return model


def draw(result: dict, path: Path) -> None:
    """Bars of the median time and of the memory over the weights, ours and the limit marked, as a PNG."""
    times = {name: row["median"] for name, row in result["summary"].items()}
    memory = {name: mib for name, mib in result["extra_memory_mib"].items() if mib is not None}
    names = sorted(times, key=times.get, reverse=True)
    colours = [
        "tab:red" if n == "ours" else "lightgrey" if n == "products" or "limit" in n else "tab:blue" for n in names
    ]
    figure = Figure(figsize=(11, 0.8 + 0.35 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    spread = [result["summary"][name] for name in names]
    error = [[s["median"] - s["least"] for s in spread], [s["most"] - s["median"] for s in spread]]
    left.barh(names, [times[name] for name in names], color=colours, xerr=error, ecolor="grey")
    left.axvline(times["limit"], color="black", linestyle="--", label="limit: backbone and bare head product")
    left.set(xlabel="seconds, median with least and most")
    left.legend(fontsize=7)
    right.barh(names, [memory.get(name, 0) for name in names], color=colours)
    if memory:
        right.axvline(memory["limit"], color="black", linestyle="--")
    right.set(xlabel="MiB at the peak, over the weights", xscale="log")
    settings = result["settings"]
    figure.suptitle(
        f"{settings['batch']} x ({settings['prompt_tokens']} + {settings['response_tokens']}) tokens, "
        f"{settings['preset']}, vocabulary {settings['vocab_size']:,}, {settings['dtype']}, {result['device']}",
        fontsize=9,
    )
    figure.savefig(path, dpi=120)


def print_table(result: dict) -> None:
    """Every rival by its time, fastest first."""
    print(
        f"{'':18s} {'median s':>9s} {'least':>7s} {'most':>7s} {'x ours':>7s} {'tokens/s':>9s} {'MiB':>8s}  deviation"
    )
    for name, row in sorted(result["summary"].items(), key=lambda item: item[1]["median"]):
        found = result["largest_deviation_nats"].get(name)
        print(
            f"{name:18s} {row['median']:9.4f} {row['least']:7.4f} {row['most']:7.4f} {row['over ours']:7.3f} "
            f"{result['tokens_per_second'][name]:9,d} {result['extra_memory_mib'][name] or float('nan'):8.1f}  "
            + (f"{found:.2g} nats ({result['deviation_of'][name]})" if found is not None else "-")
        )
    for name, reason in result["unavailable"].items():
        print(f"{name:18s} {reason}")
    print("ours over " + ", ".join(f"{name} {ratio}" for name, ratio in result["ours_over"].items()))


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub name of a model with weights of its own, such as a Llama")
    parser.add_argument("--preset", choices=PRESETS, default="small", help="Qwen2 shape with random weights")
    parser.add_argument("--vocab_size", type=int, default=151936, help="size of the vocabulary")
    parser.add_argument("--batch", type=int, default=8, help="responses")
    parser.add_argument("--prompt_tokens", type=int, default=64, help="tokens of each prompt")
    parser.add_argument(
        "--response_tokens", default="256", help=f"of each response, a range such as 16:512, or {' or '.join(LENGTHS)}"
    )
    parser.add_argument(
        "--responses_per_prompt", type=int, default=1, help="above 1 they share what is read of it; adds `apart`"
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the weights")
    parser.add_argument("--bf16", action="store_true", help="adds ours with the backbone's products in bfloat16")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which every rival runs once")
    parser.add_argument("--output", type=Path, help="JSON file to write, with a figure of the same name beside it")
    args = parser.parse_args(argv)

    try:
        quantiles = token_range(args.response_tokens)
    except ValueError:
        parser.error(f"--response_tokens {args.response_tokens}: give 256, 16:512, or {' or '.join(LENGTHS)}")
    if args.response_tokens.isdecimal():
        args.response_tokens = int(args.response_tokens)
    if args.responses_per_prompt < 1:
        parser.error(f"--responses_per_prompt {args.responses_per_prompt}: at least 1")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = made_model(args, device)
    generator = torch.Generator().manual_seed(0)

    def drawn(tokens: int) -> list[int]:
        return torch.randint(args.vocab_size, (tokens,), generator=generator).tolist()

    lengths = lengths_of(quantiles, args.batch, generator)
    group = args.responses_per_prompt
    prompts = [prompt for _ in lengths[::group] for prompt in [drawn(args.prompt_tokens)] * group][: args.batch]
    responses = [drawn(n) for n in lengths]
    runs, absent = rivals(model, prompts, responses, group > 1, args.bf16)

    # in float64 first: a copy of a large model leaves no room for anything else
    expected = exact(model, prompts[:EXACT_ROWS], responses[:EXACT_ROWS])
    deviations, tokens = {}, {}
    for name, rival in runs.items():  # each runs for the first time here, which also warms it up
        before = rival.base.tokens if rival.base else 0
        given = rival.run()
        if rival.base:
            tokens[name] = rival.base.tokens - before
        if given is not None:
            deviations[name] = {"of": rival.gives, "nats": deviation(given, expected[rival.gives])}
        del given
    memory = {name: extra_memory(rival.run) for name, rival in runs.items()}
    seconds = interleave({name: rival.run for name, rival in runs.items()}, args.repeats)

    summary = summarize(seconds, "ours")
    median = {name: row["median"] for name, row in summary.items()}
    result = {
        "kind": "scoring",
        **measurement({k: v for k, v in vars(args).items() if k != "output"}),
        "block": BLOCKS[device],
        "response_tokens": sum(lengths),
        "seconds": {name: [round(s, 5) for s in times] for name, times in seconds.items()},
        "summary": summary,
        "tokens_per_second": {name: round(sum(lengths) / s) for name, s in median.items()},
        "extra_memory_mib": {name: None if m is None else round(m / MIB, 1) for name, m in memory.items()},
        "largest_deviation_nats": {name: found["nats"] for name, found in deviations.items()},
        "deviation_of": {name: found["of"] for name, found in deviations.items()},
        "backbone_tokens": tokens,
        "ours_over": {
            name: round(median["ours"] / median[name], 4) for name in ("products", "limit", "blocked_limit")
        },
        "unavailable": absent,
    }
    print_table(result)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        draw(result, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
