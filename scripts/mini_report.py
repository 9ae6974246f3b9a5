"""One page of what `scripts/reproduce_mini.sh` found: each claim of the paper, a verdict, tables and figures."""

import argparse
from pathlib import Path

from train.mini_report import page


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("outputs/mini"), help="folder of the stages' results")
    args = parser.parse_args(argv)
    text = page(args.folder)
    (args.folder / "mini.md").write_text(text, encoding="utf-8")
    print(text.split("\n## ")[0] + f"\nThe whole page is {args.folder / 'mini.md'}")


if __name__ == "__main__":
    main()
