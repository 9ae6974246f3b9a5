"""Stages of an experiment, each a process of its own with its output in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ONE_PROCESS = "--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
LAUNCH_ONE = [*LAUNCH, *ONE_PROCESS.split()]
SHOWN = 4000  # characters at the end of the output of a stage that failed


def run_stage(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, threads: int | None = 1
) -> None:
    """Run a stage in a process of its own, offline, and write its output into a file.

    Args:
        command: the words of the command line.
        log: the file; its folder is made.
        environment: variables of the process, default those of this one.
        threads: of its matrix products; None leaves the number as the environment has it.

    Raises:
        SystemExit: it failed; the message names the file and shows its end.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ if environment is None else environment) | {"HF_HUB_OFFLINE": "1"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with log.open("w") as out:
        done = subprocess.run(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        end = log.read_text(errors="replace")[-SHOWN:]
        raise SystemExit(f"{' '.join(command[:6])} ... failed; its output is in {log}:\n{end}")
