"""What `accelerate launch` was asked for and what it set up must be the same, or nobody knows what was run."""

import os

import psutil
import torch
import yaml
from accelerate.commands.launch import launch_command_parser

SHARDED = ("FSDP", "DEEPSPEED")


def start_process_group() -> None:
    """DeepSpeed on CPU processes takes gloo only if the process group exists before the first model loads."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and not torch.cuda.is_available():
        import deepspeed

        deepspeed.init_distributed(dist_backend="gloo")


def launch_request(command: list[str]) -> tuple[str, int] | None:
    """Distributed type and number of processes that a command line asks for; None if it does not launch anything.

    Args:
        command: the words of a process's command line; those of its --config_file count where no flag says otherwise.
    """
    launch = next((i for i, word in enumerate(command) if "accelerate" in word), None)
    if launch is None:
        return None
    words = command[launch + 1 :]
    asked, _ = launch_command_parser().parse_known_args(words[words[:1] == ["launch"] :])
    file = {}
    if asked.config_file and os.path.isfile(asked.config_file):
        with open(asked.config_file, encoding="utf-8") as handle:
            file = yaml.safe_load(handle)
    kind = str(file.get("distributed_type", "NO"))
    kind = "FSDP" if asked.use_fsdp else "DEEPSPEED" if asked.use_deepspeed else kind
    return kind, int(asked.num_processes or file.get("num_processes", 1))


def check_launcher(accelerator) -> None:
    """Refuse to go on as another launcher than the one asked for: on CPUs `accelerate launch` falls back from FSDP to
    DDP, or to a single process, without a word.

    Raises:
        RuntimeError: naming both.
    """
    parent = psutil.Process().parent()
    request = launch_request(parent.cmdline()) if parent else None
    if request is None:
        return
    (kind, processes), got = request, str(accelerator.distributed_type).rpartition(".")[2]
    if (kind in SHARDED and got != kind) or accelerator.num_processes < processes:
        raise RuntimeError(
            f"accelerate launch was asked for {kind} with {processes} process(es), but set up {got} with "
            f"{accelerator.num_processes}. FSDP needs GPUs; on CPUs take cpu_ddp.yaml, cpu_zero2.yaml or "
            "cpu_zero3.yaml of configs/accelerate, without --cpu."
        )
