"""A launcher that became another one without a word is an error."""

from types import SimpleNamespace

import psutil
import pytest
from launching import SMALL, launch
from tiny_models import ROOT

from train.launcher import check_launcher, launch_request

FILES = ROOT / "configs" / "accelerate"


@pytest.mark.parametrize(
    "command, request_",
    [
        (f"/x/bin/accelerate launch --config_file {FILES}/fsdp2.yaml train/ppo_endorm.py --config a", ("FSDP", 8)),
        (f"python -m accelerate.commands.launch --config_file {FILES}/cpu_zero3.yaml x.py", ("DEEPSPEED", 2)),
        (
            f"accelerate launch --num_processes 4 --config_file {FILES}/ddp.yaml x.py --seed 9",
            ("MULTI_GPU", 4),
        ),
        ("accelerate launch --use_fsdp --num_processes 2 x.py", ("FSDP", 2)),
        ("accelerate launch x.py", ("NO", 1)),
        ("torchrun --nproc_per_node 2 x.py", None),
        ("bash", None),
    ],
)
def test_what_a_command_line_asks_for(command, request_):
    assert launch_request(command.split()) == request_


@pytest.mark.parametrize(
    "file, kind, processes, fine",
    [
        ("fsdp2", "FSDP", 8, True),
        ("fsdp2", "MULTI_CPU", 8, False),
        ("cpu_zero2", "DEEPSPEED", 2, True),
        ("cpu_zero2", "DEEPSPEED", 1, False),
        ("cpu_ddp", "MULTI_CPU", 2, True),
        ("cpu_ddp", "NO", 1, False),
        ("single", "NO", 1, True),
    ],
)
def test_the_launcher_that_came_to_be(file, kind, processes, fine, monkeypatch):
    command = ["accelerate", "launch", "--config_file", str(FILES / f"{file}.yaml"), "x.py"]
    monkeypatch.setattr(psutil.Process, "parent", lambda _: SimpleNamespace(cmdline=lambda: command))
    accelerator = SimpleNamespace(distributed_type=f"DistributedType.{kind}", num_processes=processes)
    if fine:
        check_launcher(accelerator)
    else:
        with pytest.raises(RuntimeError, match=f"set up {kind} with {processes}"):
            check_launcher(accelerator)


@pytest.mark.slow
def test_fsdp_on_cpus_is_refused_not_replaced(rehearsal, problems, tmp_path):
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": problems, "bf16": False}
    config = ["--config_file", "configs/accelerate/fsdp2.yaml", "--num_processes", "2", "--cpu"]
    done = launch("ppo_endorm", "configs/math/ppo_qwen2.5_math_7b.yaml", tmp_path, config, check=False, **fields)
    assert done.returncode != 0
    assert "asked for FSDP with 2 process(es), but set up NO with 1" in done.stderr
