"""Write the README's speed tables from the results in scripts/bench/results/, and say what got slower.

    python scripts/bench/bench_table.py                 # compared with the results committed at HEAD
    python scripts/bench/bench_table.py --against v0.1  # or at any git reference, or with those of a folder
    python scripts/bench/bench_table.py --check         # is the README's table what the files give? Nothing is written

Exit status 1 if a figure got more than 5 % slower relative to its yardstick (its line begins with SLOWER), or if
--check finds another table. Only ratios within one run are compared, of the same device and settings.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from speed_tables import compare, insert, tables

ROOT = Path(__file__).resolve().parents[2]


def read_folder(folder: Path) -> dict[str, dict]:
    """{file name: result} of the JSON files in a folder."""
    return {p.name: json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))}


def read_commit(reference: str, folder: Path) -> dict[str, dict]:
    """The same at a git reference.

    Raises:
        ValueError: git does not know the reference, or the folder is in no repository.
    """

    def git(*command: str) -> str:
        try:
            return subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True).stdout
        except subprocess.CalledProcessError as error:
            raise ValueError(f"--against {reference!r} is no folder, and git says: {error.stderr}") from error

    names = [name for name in git("ls-tree", "--name-only", reference).splitlines() if name.endswith(".json")]
    return {name: json.loads(git("show", f"{reference}:./{name}")) for name in names}


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "scripts/bench/results", help="folder of JSON files")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="page with the two markers")
    parser.add_argument("--against", default="HEAD", help="git reference or folder; exit 1 if over 5 %% slower")
    parser.add_argument("--check", action="store_true", help="only verify the page; exit 1 if it differs")
    args = parser.parse_args(argv)

    results = read_folder(args.results)
    page = args.readme.read_text(encoding="utf-8")
    made = insert(page, tables(results))
    if args.check:
        print(
            f"{args.readme.name}: "
            + ("is what the results give" if made == page else "run scripts/bench/bench_table.py")
        )
        return int(made != page)
    args.readme.write_text(made, encoding="utf-8")
    last = read_folder(Path(args.against)) if Path(args.against).is_dir() else read_commit(args.against, args.results)
    lines, slower = compare(results, last)
    print("\n".join(lines))
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
