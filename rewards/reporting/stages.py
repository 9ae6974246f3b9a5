"""Stages of an experiment, each a process of its own with its output in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ONE_PROCESS = "--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
LAUNCH_ONE = [sys.executable, "-m", "accelerate.commands.launch", *ONE_PROCESS.split()]


def run_stage(command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
    """Run a stage of an experiment in a process of its own on one thread, its output in a file.

    Raises:
        SystemExit: it failed; the message names the file.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = (environment or os.environ) | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out:
        done = subprocess.run(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:6])} ... failed; its output is in {log}")
