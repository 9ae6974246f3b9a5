"""Train a base language model of the middle size from scratch: by default 38M parameters, ten minutes on one H100.

    python scripts/make_middle_base.py --minutes 10                                    # gsm8k and MATH from the hub
    python scripts/make_middle_base.py --steps 30 --hidden 64 --layers 2 --vocab_size 512 --batch_tokens 2048 \\
        --data FOLDER                                                                   # a CPU, half a minute

It reads noisy solutions of endless synthetic word problems (train/middle_task.py) and the training texts of GSM8K and
MATH. Writes the model (safetensors) and its tokenizer, which has no chat template since the text is plain:
"Question: ...\\nAnswer: ...". Into the data folder go train.jsonl and heldout.jsonl of synthetic problems, and
gsm8k_heldout.jsonl. There is no resuming: what was killed starts anew. NOT yet run at its full size by us.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from train.bpe_tokenizer import train_tokenizer
from train.middle_model import build_model, fit_within, heldout_loss
from train.middle_task import (
    ERROR,
    PackedRows,
    document,
    load_texts,
    noisy_document,
    write_splits,
)
from train.tracking import git_commit, versions


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, default=Path("outputs/middle/base"), help="folder for the model")
    add("--data_dir", type=Path, help="folder for the problems, default OUTPUT/../data")
    add("--data", help="folder with gsm8k_train and math_train as .jsonl or .jsonl.gz, read in place of the hub")
    add("--minutes", type=float, help="of training, default 10 where --steps is not given")
    add("--steps", type=int, help="of the optimizer; with --minutes what comes first ends the training")
    add("--hidden", type=int, default=512, help="width, a multiple of 64")
    add("--layers", type=int, default=8)
    add("--vocab_size", type=int, default=8192, help="most tokens, special ones included")
    add("--batch_tokens", type=int, default=32768, help="of one step")
    add("--length", type=int, default=512, help="tokens of one training row")
    add("--learning_rate", type=float, default=1e-3, help="peak; it falls to 0 by half a cosine")
    add("--synthetic", type=float, default=0.85, help="share of the documents that are synthetic problems")
    add("--error", type=float, default=ERROR, help="chance that a step of a synthetic solution is wrong")
    add("--n_train", type=int, default=50_000, help="problems in train.jsonl")
    add("--n_heldout", type=int, default=500, help="problems in heldout.jsonl")
    add("--workers", type=int, help="processes that write and tokenise problems, default 8 with CUDA, else none")
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.minutes is None and args.steps is None:
        args.minutes = 10.0
    if args.batch_tokens < args.length:
        parser.error(f"--batch_tokens {args.batch_tokens} is less than one row (--length {args.length})")
    args.data_dir = args.data_dir or args.output.parent / "data"
    return args


def main(argv: list[str] | None = None) -> None:
    """Command line entry: problems and texts, tokenizer, training, held-out loss."""
    args = arguments(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    workers = args.workers if args.workers is not None else (8 if device == "cuda" else 0)
    if workers:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # each worker is a process of its own
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")

    heldout = write_splits(args.data_dir, args.n_train, args.n_heldout, args.seed)
    texts, heldout_texts = load_texts(args.data, args.data_dir)
    rng = random.Random(f"tokenizer {args.seed}")
    examples = [noisy_document(rng, args.error, heldout) for _ in range(5_000)]
    tokenizer = train_tokenizer([*texts, *examples], args.vocab_size, model_max_length=2048)
    model = build_model(tokenizer, args.hidden, args.layers).to(device)
    size = model.num_parameters()
    print(f"{size:,} parameters, {len(tokenizer)} tokens, {len(texts)} texts of GSM8K and MATH, on {device}")

    rows = PackedRows(
        tokenizer,
        texts,
        heldout,
        length=args.length,
        synthetic=args.synthetic,
        error=args.error,
        seed=args.seed,
    )
    batches = DataLoader(rows, args.batch_tokens // args.length, num_workers=workers, pin_memory=device == "cuda")
    seconds = None if args.minutes is None else 60 * args.minutes
    start = time.monotonic()
    steps = fit_within(model, batches, seconds=seconds, steps=args.steps, learning_rate=args.learning_rate)
    took = time.monotonic() - start
    tokens = steps * (args.batch_tokens // args.length) * args.length

    model.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    rows = [json.loads(line) for line in (args.data_dir / "heldout.jsonl").read_text(encoding="utf-8").splitlines()]
    sources = {
        "synthetic, right solutions": [document(row["problem"], row["solution"]) for row in rows[:256]],
        "gsm8k and math": heldout_texts[:: max(1, len(heldout_texts) // 256)],
    }
    facts = {
        "command": sys.argv if argv is None else ["scripts/make_middle_base.py", *argv],
        "commit": git_commit(),
        "versions": versions(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "parameters": size,
        "steps": steps,
        "tokens": tokens,
        "training_seconds": took,
        "heldout_loss": {name: heldout_loss(model, tokenizer, documents) for name, documents in sources.items()},
    }
    (args.output / "base.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for name, loss in facts["heldout_loss"].items():
        print(f"held-out loss, {name}: {loss:.3f} nats a token")
    print(f"{steps} steps, {tokens:,} tokens, {took:.0f} s; saved to {args.output}, problems to {args.data_dir}")


if __name__ == "__main__":
    main()
