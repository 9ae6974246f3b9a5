"""Kill a training at random moments, by SIGKILL, and see whether every start goes on as if nothing had happened.

    python scripts/check_kills.py --kills 50 --processes 1 2 --output outputs/check_kills

A training of 24 steps saves after each of them. It is killed while it loads a checkpoint, trains or saves, started
again with `--resume_from_checkpoint latest`, and killed again, until it comes to its end; then another one begins.
Each start has to go on from the newest complete checkpoint, and each training has to end with the weights of one that
was left alone, and with each step once in metrics.jsonl. Exit code 1 if one does not.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from safetensors.torch import load_file
from tqdm import tqdm

from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH
from rewards.reporting.tables import markdown_table
from train.tasks.rehearsal_model import example_problems, rehearsal_models

ROOT = Path(__file__).resolve().parents[1]
LAUNCHERS = {1: "single", 2: "cpu_ddp"}  # processes: accelerate file
STEPS = 24
BEGINS = "Resuming from"  # what a training writes before it loads a checkpoint, or finds none
PATIENCE = 600  # seconds without a word from a training that is not killed


@dataclass
class Training:
    """One training in its folder, started as often as it takes.

    Attributes:
        command: of a start.
        folder: output_dir.
    """

    command: list[str]
    folder: Path
    wrong: list[str] = field(default_factory=list)

    def start(self, lives: float | None) -> tuple[bool, float]:
        """Start it, and kill it `lives` seconds after it began to load its checkpoint.

        Returns:
            Whether it came to its end, and the seconds that it ran after that moment.
        """
        log = self.folder.with_suffix(".log")
        newest = newest_of(self.folder)
        with log.open("w") as out:
            process = subprocess.Popen(self.command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment())
        begun = None
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None:
            if begun is None and BEGINS in log.read_text(errors="replace"):
                begun = time.monotonic()
            if begun is not None and lives is not None and time.monotonic() - begun >= lives:
                kill(process)
                break
            if time.monotonic() > deadline:
                kill(process)
                raise SystemExit(f"{log}: no end after {PATIENCE} s")
            time.sleep(0.005)
        text = log.read_text(errors="replace")
        if process.returncode > 0:  # of a kill it is below 0
            raise SystemExit(f"{log}: the training failed:\n{text[-3000:]}")
        found = re.search(rf"{BEGINS} (\S+?)(?::|\s)", text)
        resumed = found[1] if found else "no word of it"
        if resumed != (newest or "nothing"):
            self.wrong.append(f"went on from {resumed}, and not from {newest}")
        return process.returncode == 0, time.monotonic() - (begun or time.monotonic())

    def differences(self, reference: Path) -> float:
        """The largest difference of a weight of policy or critic; other files or steps than expected are noted."""
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        steps = [row["step"] for row in rows if "loss" in row]
        if steps != list(range(1, STEPS + 1)):
            self.wrong.append(f"steps in metrics.jsonl: {steps}")
        largest = 0.0
        for path in reference.glob("*.safetensors"):
            mine, other = load_file(self.folder / path.name), load_file(path)
            largest = max(largest, *(float((mine[name] - other[name]).abs().max()) for name in other))
        return largest


def environment() -> dict[str, str]:
    """One thread, no hub, and a port that torchrun binds itself."""
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "PET_STANDALONE": "1"}
    return os.environ | own


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the launcher and all that it started, the launcher first, so that nobody cleans up."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(children)
    process.wait()


def newest_of(folder: Path) -> str | None:
    """The checkpoint of the highest step that has its last file, read without the project's own code."""
    done = [path.parent for path in folder.glob("checkpoint-*/complete.json")]
    return str(max(done, key=lambda path: int(path.name.rpartition("-")[2]))) if done else None


def command(algorithm: str, processes: int, model: str, data: str, output: Path) -> list[str]:
    """A start of a training of `STEPS` steps."""
    fields = {
        "model_name_or_path": model,
        "dataset_name": data,
        "output_dir": output,
        "resume_from_checkpoint": "latest",
        "use_cpu": True,
        "bf16": False,
        "frozen_dtype": "float32",
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4 // processes,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": 2,  # so that every other checkpoint lies in the middle of a rollout
        "max_completion_length": 8,
        "save_steps": 1,
        "save_total_limit": 3,
        "eval_strategy": "no",
        "disable_tqdm": True,
    }
    flags = [str(x) for name, value in fields.items() for x in (f"--{name}", value)]
    if algorithm == "grpo":
        flags += ["--num_generations", "4", "--beta", "0.1"]
    launcher = ["--config_file", str(ROOT / f"configs/accelerate/{LAUNCHERS[processes]}.yaml")]
    script, recipe = f"train/{algorithm}_endorm.py", f"configs/math/{algorithm}_qwen2.5_math_7b.yaml"
    return [*LAUNCH, *launcher, "--main_process_port", "0", script, "--config", recipe, *flags]


def check(algorithm: str, processes: int, kills: int, scratch: Path, seed: int) -> dict:
    """One row: how often a training was killed, and what came of it."""
    models, data = scratch / "models", scratch / "problems.jsonl"
    model = str(models / "0") if models.exists() else rehearsal_models(models)[0]
    made = {}

    def training(name: str) -> Training:
        folder = scratch / f"{algorithm}_{processes}_{name}"
        made[name] = Training(command(algorithm, processes, model, example_problems(data), folder), folder)
        return made[name]

    alone = training("alone")
    _, seconds = alone.start(None)
    draw, killed, largest, ended = random.Random(seed), 0, 0.0, 0
    bar = tqdm(total=kills, desc=f"{algorithm}, {processes} process(es): kills")
    current = training("0")
    while True:
        lives = draw.uniform(0, seconds) if killed < kills else None
        done, _ = current.start(lives)
        if not done:
            killed += 1
            bar.update()
            continue
        ended += 1
        largest = max(largest, current.differences(alone.folder))
        shutil.rmtree(current.folder)
        if killed >= kills:
            break
        current = training(str(ended))
    bar.close()
    wrong = [text for of_it in made.values() for text in of_it.wrong]
    facts = {"algorithm": algorithm, "processes": processes, "kills": killed, "trainings that ended": ended}
    return facts | {"largest difference of a weight": largest, "wrong": wrong}


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="for each number of processes")
    parser.add_argument("--processes", type=int, nargs="+", choices=LAUNCHERS, default=list(LAUNCHERS))
    parser.add_argument("--algorithms", nargs="+", choices=("ppo", "grpo"), default=["ppo"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, help="folder for kills.json")
    args = parser.parse_args(argv)

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for algorithm in args.algorithms:
            for processes in args.processes:
                rows.append(check(algorithm, processes, args.kills, Path(scratch), args.seed))
    table = [[len(row[key]) if key == "wrong" else row[key] for key in row] for row in rows]
    print(markdown_table(list(rows[0]), table))
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"rows": rows, "seed": args.seed} | record(), indent=2)
        (args.output / "kills.json").write_text(text + "\n", encoding="utf-8")
    for text in (text for row in rows for text in row["wrong"]):
        print(f"WRONG: {text}")
    failed = any(row["wrong"] or row["largest difference of a weight"] > 0 for row in rows)
    print("FAILED" if failed else "every start went on from the newest complete checkpoint, to the same weights")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
