"""Write a task for a real chat model: train.jsonl, and heldout.jsonl with other countries or stories."""

import argparse
from pathlib import Path

from train.tasks.chat_tasks import TASKS


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--task", choices=TASKS, default="capitals")
    parser.add_argument("--output", type=Path, default=Path("outputs/capitals/data"), help="folder of the files")
    parser.add_argument("--seed", type=int, default=0, help="which questions are held out")
    parser.add_argument("--system_prompt", help="put before each question; without it the chat template's own")
    args = parser.parse_args(argv)
    train, heldout = TASKS[args.task].write_splits(args.output, seed=args.seed, system_prompt=args.system_prompt)
    sizes = [sum(1 for _ in path.open(encoding="utf-8")) for path in (train, heldout)]
    print(f"{args.output}: {sizes[0]} questions to train on, {sizes[1]} held out")


if __name__ == "__main__":
    main()
