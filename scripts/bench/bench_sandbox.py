"""How many programs a second the reward `unit_tests` judges, and what many at once leave behind.

    python scripts/bench/bench_sandbox.py --grades 1000 --workers 16 --output scripts/bench/results/sandbox_cpu.json

Right programs, wrong ones, some that never end, print for ever or start processes, each in a sandbox of its own.
After it, in turns: a harmless program in the sandbox and by Python alone, since starting Python is most of the cost.
Every verdict is known, and has to be right. Exit status 1 if one is wrong or something is left.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from rewards.reporting.record import record
from rewards.unit_tests import UnitTests

TESTS = ["assert f(2) == 4", "assert f(-3) == 9"]
PROGRAMS = {  # with the share of the tests that they pass
    "right": ("def f(x):\n    return x * x", 1.0),
    "wrong": ("def f(x):\n    return 2 * x", 0.5),
    "no program": ("def f(x", 0.0),
    "never ends": ("while True:\n    pass", 0.0),
    "prints for ever": ("while True:\n    print('x' * 1000)", 0.0),
    "starts processes": ("import os\nwhile True:\n    os.fork()", 0.0),
}
USUAL, HOSTILE = ("right", "wrong", "no program"), ("never ends", "prints for ever", "starts processes")
EVERY = 20  # one in so many is hostile


def residue() -> dict[str, int]:
    """What this process holds now: children, those of them that nobody waited for, open files, and files in the folder
    for temporary ones."""
    me = psutil.Process()
    below = me.children(recursive=True)
    return {
        "processes": len(below),
        "zombies": sum(child.status() == psutil.STATUS_ZOMBIE for child in below),
        "open files": me.num_fds(),
        "temporary files": len(list(Path(tempfile.gettempdir()).iterdir())),
    }


def judge(grades: int, workers: int) -> dict:
    """Seconds of some grades, and what they left."""
    reward = UnitTests(seconds=1, workers=workers)
    names = [HOSTILE[i // EVERY % 3] if i % EVERY == EVERY - 1 else USUAL[i % 3] for i in range(grades)]
    before = residue()
    start = time.perf_counter()
    found = reward([f"```\n{PROGRAMS[name][0]}\n```" for name in names], tests=[TESTS] * grades)
    seconds = time.perf_counter() - start
    after = residue()
    wrong = [name for name, share in zip(names, found, strict=True) if share != PROGRAMS[name][1]]
    return {
        "workers": workers,
        "grades": grades,
        "programs": grades * len(TESTS),
        "seconds": round(seconds, 2),
        "grades a second": round(grades / seconds, 2),
        "wrong verdicts": wrong,
        "left": {name: after[name] - before[name] for name in before},
    }


def without_sandbox(programs: int, workers: int) -> float:
    """Programs a second that Python runs by itself: harmless ones only."""
    program = f"{PROGRAMS['right'][0]}\n{TESTS[0]}"
    command = [sys.executable, "-I", "-S", "-B", "-c", program]
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda _: subprocess.run(command, check=True), range(programs)))
    return round(programs / (time.perf_counter() - start), 2)


def harmless(programs: int, workers: int) -> float:
    """Programs a second of the same kind in the sandbox."""
    reward = UnitTests(workers=workers)
    start = time.perf_counter()
    found = reward([f"```\n{PROGRAMS['right'][0]}\n```"] * programs, tests=[TESTS[:1]] * programs)
    assert set(found) == {1.0}
    return round(programs / (time.perf_counter() - start), 2)


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grades", type=int, default=1000, help="responses, of two tests each")
    parser.add_argument("--workers", type=int, default=16, help="programs at once")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with Python alone")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as own:  # others may write into the usual folder
        usual, tempfile.tempdir = tempfile.tempdir, own
        result = judge(args.grades, args.workers)
        tempfile.tempdir = usual
    pairs = [(harmless(100, 2), without_sandbox(100, 2)) for _ in range(args.rounds)]
    ratios = sorted(other / ours for ours, other in pairs)
    result["harmless programs a second, sandbox and Python alone"] = pairs
    result["a sandboxed program costs, in programs of Python alone"] = round(ratios[len(ratios) // 2], 2)
    print(json.dumps(result, indent=2))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps({**result, **record(argv=argv)}, indent=2) + "\n")
    if result["wrong verdicts"] or any(n > 0 for n in result["left"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
