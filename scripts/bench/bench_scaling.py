"""The cost of scoring with EndoRM against response length, batch, vocabulary and model size, on random weights.

    python scripts/bench/bench_scaling.py --output scripts/bench/results/scaling_cpu.json

One axis is varied at a time round a centre. All points run once a round, in a new order each round. Writes JSON and,
beside it, a figure with fitted exponents and those of counted FLOPs and bytes. A CPU takes about five minutes; on a
GPU the defaults are larger and the weights bf16. Exit status 1 if memory grows with vocabulary x tokens.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from scaling_fits import (
    AXES,
    LOGIT_BYTES,
    Point,
    bytes_a_logit,
    draw,
    narrow_vocabulary,
    scoring_bytes,
    scoring_flops,
    summarise,
)
from tqdm.auto import tqdm

from rewards import FrozenBase
from rewards.endorm import endogenous_rewards
from train.cost.memory import shape_of
from train.cost.shapes import PRESETS, preset_config, random_model
from train.cost.stopwatch import MIB, extra_memory, interleave, measurement

DEFAULTS = {  # centre and the presets along the axis of size
    "cpu": {"preset": "tiny", "vocabulary": 65536, "batch": 4, "prompt_tokens": 64, "response_tokens": 256}
    | {"dtype": "float32", "presets": ["tiny", "small", "0.5b"]},
    "cuda": {"preset": "7b", "vocabulary": 131072, "batch": 16, "prompt_tokens": 512, "response_tokens": 512}
    | {"dtype": "bfloat16", "presets": ["0.5b", "1.5b", "7b"]},
}


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, help="the centre's shape")
    parser.add_argument("--vocabulary", type=int, help="the centre's vocabulary")
    parser.add_argument("--batch", type=int, help="the centre's responses")
    parser.add_argument("--prompt_tokens", type=int, help="of each prompt, everywhere")
    parser.add_argument("--response_tokens", type=int, help="the centre's, of each response")
    parser.add_argument("--dtype", help="of the weights")
    parser.add_argument("--lengths", type=int, nargs="+", default=[2**k for k in range(7, 13)], help="along that axis")
    parser.add_argument("--batches", type=int, nargs="+", default=[2**k for k in range(6)], help="along that axis")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[2**k for k in range(15, 19)], help="as above")
    parser.add_argument("--presets", choices=PRESETS, nargs="+", help="as above, smallest first")
    parser.add_argument("--batch_tokens", type=int, default=8192, help="padded tokens in one forward")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which every point runs once")
    parser.add_argument("--output", type=Path, required=True, help="JSON file; the figure is written beside it")
    parser.set_defaults(**DEFAULTS[device])
    args = parser.parse_args(argv)
    values = dict(zip(AXES, (args.lengths, args.batches, args.vocabularies, args.presets)))
    for axis, along in values.items():
        if len(set(along)) < 3:
            parser.error(f"an exponent with an interval needs three values along {axis}, got {along}.")

    centre = Point(args.preset, args.vocabulary, args.batch, args.response_tokens)
    axes = {axis: [dataclasses.replace(centre, **{axis: x}) for x in along] for axis, along in values.items()}
    points = list(dict.fromkeys(p for along in axes.values() for p in along))
    widest = {name: max(p.vocabulary for p in points if p.preset == name) for name in {p.preset for p in points}}
    dtype = getattr(torch, args.dtype)
    models = {name: random_model(name, size, dtype, device) for name, size in widest.items()}
    draws = torch.Generator().manual_seed(0)

    def scoring(point: Point):
        base = FrozenBase(narrow_vocabulary(models[point.preset], point.vocabulary), args.batch_tokens)
        size = (point.batch, args.prompt_tokens + point.response_tokens)
        ids = torch.randint(min(point.vocabulary, 32768), size, generator=draws)
        prompts, responses = ids[:, : args.prompt_tokens].tolist(), ids[:, args.prompt_tokens :].tolist()
        return lambda: [endogenous_rewards(s) for s in base.score(prompts, responses)]

    runs, rows = {point: scoring(point) for point in points}, {}
    for point, run in tqdm(runs.items(), desc="memory", unit="point", disable=None):
        run()  # what is loaded and compiled at the first call is no part of either measure
        extra = extra_memory(run)
        shape = shape_of(preset_config(point.preset, point.vocabulary))
        counted = scoring_bytes(shape, point, args.prompt_tokens, dtype.itemsize, args.batch_tokens, device)
        rows[point] = {
            **dataclasses.asdict(point),
            "weights": shape.linear_parameters + shape.hidden * shape.vocab,
            "flops": scoring_flops(shape, point, args.prompt_tokens),
            "extra_mib": None if extra is None else round(extra / MIB, 2),
            "counted_mib": round(counted / MIB, 2),
        }
    for point, seconds in interleave(runs, args.repeats).items():
        rows[point]["seconds"] = [round(s, 5) for s in seconds]

    found = {axis: summarise(axis, [rows[p] for p in along]) for axis, along in axes.items()}
    settings = {k: v for k, v in vars(args).items() if k != "output"}
    result = {"kind": "scaling", **measurement(settings), "points": list(rows.values()), "axes": found}
    of_centre = [row for row in rows.values() if row["preset"] == centre.preset]
    told = None not in [row["extra_mib"] for row in of_centre]
    logit = result["bytes_a_logit"] = bytes_a_logit(of_centre) if told else None
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    draw(found, args.output.with_suffix(".png"))
    for axis, growth in found.items():
        for name, quantity in growth.items():
            if name != "x" and quantity and quantity["exponent"] is not None:
                low, high = quantity["ci95"]
                fitted = f"{quantity['exponent']:.3f} ({low:.3f} to {high:.3f})"
                print(f"{axis:16} {name:7} exponent {fitted}, counted {quantity['expected']:.3f}")
    if logit is None:
        return 0
    low, high = logit["ci95"]
    print(f"memory a logit: {logit['slope']:.4f} ({low:.4f} to {high:.4f}) bytes; 4 where all exist in fp32")
    if grows := logit["slope"] > LOGIT_BYTES:
        print(f"Memory GROWS with vocabulary x tokens: over {LOGIT_BYTES} bytes a logit.")
    return int(grows)


if __name__ == "__main__":
    sys.exit(main())
