"""Train the base language model of the demo from scratch: a small Qwen2 that imitates a noisy arithmetic expert.

Writes the model and tokenizer (loadable with from_pretrained) and the train and held-out prompts. The expert errs
in 15% of its steps, so a good imitator samples right answers a little over half of the time while its most probable
token is right at every step. Runs on the CPU in about a minute.
"""

import argparse
import time
from pathlib import Path

import torch

from train.tasks.arithmetic import EXPERT_ERROR, build_tokenizer, write_splits
from train.tasks.arithmetic_model import imitate_expert


def main(argv: list[str] | None = None) -> None:
    """Command line entry: write the prompt splits, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/demo/base"), help="folder for the model")
    parser.add_argument("--data_dir", type=Path, default=None, help="folder for the prompts; None: OUTPUT/../data")
    parser.add_argument("--seed", type=int, default=0, help="seed of the prompts, the model and the demonstrations")
    parser.add_argument("--steps", type=int, default=700, help="optimizer steps")
    parser.add_argument("--batch_size", type=int, default=128, help="demonstrations per step")
    parser.add_argument("--learning_rate", type=float, default=3e-3, help="peak learning rate of AdamW")
    parser.add_argument("--error", type=float, default=EXPERT_ERROR, help="expert's chance of a wrong step")
    parser.add_argument("--lazy", type=float, default=0.0, help="share of demonstrations that end after one digit")
    parser.add_argument("--hidden", type=int, default=96, help="hidden size")
    parser.add_argument("--layers", type=int, default=3, help="number of layers")
    # Matrices this small make threads wait for each other wherever the cores are shared with other work.
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; 2 is faster, on cores that are idle")
    parser.add_argument("--n_train", type=int, default=20_000, help="prompts in train.jsonl")
    parser.add_argument("--n_heldout", type=int, default=2_000, help="prompts in heldout.jsonl")
    args = parser.parse_args(argv)

    start = time.perf_counter()
    torch.set_num_threads(args.threads)
    data_dir = args.data_dir or args.output.parent / "data"
    heldout = write_splits(data_dir, args.n_train, args.n_heldout, args.seed)
    tokenizer = build_tokenizer()
    model = imitate_expert(
        tokenizer,
        heldout,
        seed=args.seed,
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        error=args.error,
        lazy=args.lazy,
        hidden=args.hidden,
        layers=args.layers,
    )
    model.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    size = sum(p.numel() for p in model.parameters())
    seconds = time.perf_counter() - start
    print(f"Saved a base model of {size:,} parameters to {args.output} and prompts to {data_dir} ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
