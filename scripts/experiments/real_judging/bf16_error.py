"""What arithmetic in bfloat16 changes of EndoRM's scores on preference data, and of what they decide.

    python scripts/experiments/real_judging/bf16_error.py --model M --data chat.jsonl --limit 40

Every response is scored in fp32, with the layers' products in bfloat16 (autocast), and by a model held in bfloat16. Of
the sums at discounts 1 and 0.95 the file says how far they are off, in nats, and how many comparisons change side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rewards import FrozenBase
from rewards.frozen.encoding import encode_prompt, encode_response
from rewards.frozen.loading import load_causal_lm
from rewards.frozen.sweep import ScoredResponses, Setting
from rewards.preferences import rm_bench
from rewards.preferences.comparisons import Comparisons, outcomes
from train.cost.stopwatch import measurement

DISCOUNTS = (1.0, 0.95)
EXACT = "fp32"


def sums(model: str, comparisons: Comparisons) -> dict[str, dict[float, np.ndarray]]:
    """Sums of the rewards of all responses, group by group, for each way to compute and each discount."""
    found = {}
    for name, dtype in ((EXACT, torch.float32), ("bf16_autocast", torch.float32), ("bf16_weights", torch.bfloat16)):
        loaded, tokenizer = load_causal_lm(model, dtype)
        autocast = partial(torch.autocast, loaded.device.type, torch.bfloat16) if "autocast" in name else None
        texts = [(group.prompt, text) for group in comparisons.groups for text in group.responses]
        prompts = [encode_prompt(tokenizer, prompt) for prompt, _ in texts]
        responses = [encode_response(tokenizer, text, append_eos=True, prompt=prompt) for prompt, text in texts]
        scores = ScoredResponses(FrozenBase(loaded, autocast=autocast).score(prompts, responses, progress=True))
        found[name] = {d: np.array(scores.rewards(Setting(discount=d)).tolist()) for d in DISCOUNTS}
    return found


def compared(comparisons: Comparisons, exact: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """How far scores are from the exact ones, in nats, and which share of the comparisons change side."""
    ends = np.cumsum([len(group.responses) for group in comparisons.groups])[:-1]
    decided = [outcomes(comparisons, [part.tolist() for part in np.split(x, ends)]) for x in (exact, given)]
    off = np.abs(given - exact)
    return {
        "largest_nats": float(off.max()),
        "mean_nats": float(off.mean()),
        "changed_side": float((decided[0] != decided[1]).mean()),
        "accuracy_exact": float((decided[0] == 1).mean()),
        "accuracy": float((decided[1] == 1).mean()),
    }


def table(comparisons: Comparisons, found: Mapping[str, Mapping[float, np.ndarray]]) -> Sequence[dict]:
    """A row for each way in bfloat16 and each discount."""
    return [
        {"way": name, "discount": d} | compared(comparisons, found[EXACT][d], found[name][d])
        for name in found
        if name != EXACT
        for d in DISCOUNTS
    ]


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name or folder")
    parser.add_argument("--data", required=True, help="rows of RM-Bench, file or hub name")
    parser.add_argument("--limit", type=int, help="evenly spaced rows to use, default all")
    parser.add_argument("--output", type=Path, default=Path("outputs/bf16_error.json"), help="JSON file")
    args = parser.parse_args(argv)
    made = measurement(vars(args) | {"data": Path(args.data).name})
    comparisons = rm_bench.load(args.data, limit=args.limit)
    rows = table(comparisons, sums(args.model, comparisons))
    result = {"groups": len(comparisons.groups), "comparisons": len(comparisons), "rows": rows} | made
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
