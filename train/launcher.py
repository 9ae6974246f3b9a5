"""What `accelerate launch` was asked for and what it set up must be the same, or nobody knows what was run."""

import errno
import fcntl
import logging
import os
import socket
import time
from argparse import Namespace
from pathlib import Path
from typing import IO

import psutil
import torch
import yaml
from accelerate.commands.launch import launch_command_parser

logger = logging.getLogger(__name__)

SHARDED = ("FSDP", "DEEPSPEED")
LOCK = "run.lock"  # in the run's folder; who holds it is written in it
PATIENCE = 90  # tries of a second: what Slurm leaves to the processes of a cancelled job is 30 seconds by default
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems without locks


def start_process_group() -> None:
    """DeepSpeed on CPU processes takes gloo only if the process group exists before the first model loads."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and not torch.cuda.is_available():
        import deepspeed

        deepspeed.init_distributed(dist_backend="gloo")


def take_folder(output_dir: str | Path, tries: int = PATIENCE) -> IO[str]:
    """Lock a run's folder against a second training, for as long as the returned file is open and this process lives.

    A stop that was asked of another job in this folder is forgotten: that job is over. Where the file system has no
    locks, a warning is all there is.

    Args:
        output_dir: the run's folder, made if need be.
        tries: how often to try, once a second, while a process that was told to end still saves.

    Raises:
        RuntimeError: another process trains in this folder; it names that process.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 (closed by the end of the process)
    for left in reversed(range(tries)):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno in NO_LOCKS:
                logger.warning("No lock on %s (%s): see to it that no second training writes there", folder, error)
                return file
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not left:
                raise RuntimeError(
                    f"{holder} trains in {folder}: wait for its end, or give this run another output_dir (in a job "
                    "array, one with %a in it)."
                ) from error
            if left == tries - 1:
                logger.warning("%s still trains in %s: waiting for its end", holder, folder)
            time.sleep(1)
    job = os.environ.get("SLURM_JOB_ID")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}" + (f" (Slurm job {job})" if job else ""))
    file.flush()
    stop = folder / "stop"
    if job and stop.exists() and (words := stop.read_text().split()) and words[0] != job:
        stop.unlink()
    return file


def read_command(command: list[str]) -> tuple[Namespace, dict] | None:
    """The flags of a command line that starts `accelerate launch`, and the content of its --config_file (empty without
    one); None if it does not launch anything."""
    launch = next((i for i, word in enumerate(command) if "accelerate" in word), None)
    if launch is None:
        return None
    words = command[launch + 1 :]
    asked, _ = launch_command_parser().parse_known_args(words[words[:1] == ["launch"] :])
    if not asked.config_file or not os.path.isfile(asked.config_file):
        return asked, {}
    with open(asked.config_file, encoding="utf-8") as handle:
        return asked, yaml.safe_load(handle)


def batch_sizes(args, processes: int) -> tuple[int, int]:
    """Responses an update and responses a rollout, over all processes."""
    update = args.per_device_train_batch_size * args.gradient_accumulation_steps * processes
    return update, args.per_device_train_batch_size * args.steps_per_generation * processes


def tell_batch(args, processes: int, command: list[str]) -> None:
    """Log how many responses an update and a rollout take. More processes than the accelerate file has make them
    larger, and with them another training of the same recipe: that is a warning, with what keeps them.

    Args:
        args: the trainer's arguments.
        processes: how many there are.
        command: the command line of the process that launched this one.
    """
    update, rollout = batch_sizes(args, processes)
    logger.info("%s responses an update, %s a rollout, by %s process(es)", f"{update:,}", f"{rollout:,}", processes)
    asked, file = read_command(command) or (None, {})
    usual = int(file.get("num_processes", processes))
    if asked is None or usual == processes:
        return
    before = batch_sizes(args, usual)
    kept = [size * usual / processes for size in (args.gradient_accumulation_steps, args.steps_per_generation)]
    if all(size >= 1 and size.is_integer() for size in kept):
        fix = f"--gradient_accumulation_steps {kept[0]:.0f} --steps_per_generation {kept[1]:.0f}"
    else:
        fix = "other values of per_device_train_batch_size, gradient_accumulation_steps and steps_per_generation"
    logger.warning(
        "%s processes instead of the %s of %s: an update takes %s responses instead of %s, and a rollout %s instead "
        "of %s. If the recipe's batch is for %s, keep it with %s.",
        processes,
        usual,
        asked.config_file,
        *(f"{n:,}" for pair in zip((update, rollout), before) for n in pair),
        usual,
        fix,
    )


def launching_command() -> list[str]:
    """The command line of the process that started this one; empty if it is gone."""
    parent = psutil.Process().parent()
    return parent.cmdline() if parent else []


def launch_request(command: list[str]) -> tuple[str, int] | None:
    """Distributed type and number of processes that a command line asks for; None if it does not launch anything.

    Args:
        command: the words of a process's command line; those of its --config_file count where no flag says otherwise.
    """
    read = read_command(command)
    if read is None:
        return None
    asked, file = read
    kind = str(file.get("distributed_type", "NO"))
    kind = "FSDP" if asked.use_fsdp else "DEEPSPEED" if asked.use_deepspeed else kind
    return kind, int(asked.num_processes or file.get("num_processes", 1))


def check_launcher(accelerator) -> None:
    """Refuse to go on as another launcher than the one asked for: on CPUs `accelerate launch` falls back from FSDP to
    DDP, or to a single process, without a word.

    Raises:
        RuntimeError: naming both.
    """
    request = launch_request(launching_command())
    if request is None:
        return
    (kind, processes), got = request, str(accelerator.distributed_type).rpartition(".")[2]
    if (kind in SHARDED and got != kind) or accelerator.num_processes < processes:
        raise RuntimeError(
            f"accelerate launch was asked for {kind} with {processes} process(es), but set up {got} with "
            f"{accelerator.num_processes}. FSDP needs GPUs; on CPUs take cpu_ddp.yaml, cpu_zero2.yaml or "
            "cpu_zero3.yaml of configs/accelerate, without --cpu."
        )
