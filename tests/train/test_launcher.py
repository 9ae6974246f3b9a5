"""What was launched, by how many, where: nothing that differs from what was asked for goes by without a word."""

import errno
import fcntl
import logging
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from launching import SMALL, launch
from tiny_models import ROOT

from train.launcher import LOCK, check_launcher, launch_request, take_folder, tell_batch

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


@pytest.mark.parametrize(
    "file, processes, sizes, said",
    [
        ("zero3", 8, (4, 4, 32), None),
        ("zero3", 32, (4, 4, 32), "512 responses instead of 128, and a rollout 4,096 instead of 1,024.*steps 1 .* 8"),
        ("zero3", 2, (4, 4, 32), "32 responses instead of 128.*accumulation_steps 16 --steps_per_generation 128"),
        ("zero3", 64, (4, 4, 32), "1,024 responses instead of 128.*other values of per_device_train_batch_size"),
        ("cpu_ddp", 2, (2, 1, 2), None),
    ],
)
def test_more_processes_than_usual_take_more_responses(file, processes, sizes, said, caplog):
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation")
    args = SimpleNamespace(**dict(zip(names, sizes)))
    command = ["accelerate", "launch", "--config_file", str(FILES / f"{file}.yaml"), "--num_processes", str(processes)]
    with caplog.at_level(logging.INFO):
        tell_batch(args, processes, [*command, "x.py"])
    update = sizes[0] * sizes[1] * processes
    assert f"{update:,} responses an update" in caplog.text
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == (said is not None)
    if said is not None:
        assert re.search(said, warnings[0])


def test_without_accelerate_the_batch_is_told(caplog):
    args = SimpleNamespace(per_device_train_batch_size=2, gradient_accumulation_steps=3, steps_per_generation=6)
    with caplog.at_level(logging.INFO):
        tell_batch(args, 1, ["bash"])
    assert caplog.messages == ["6 responses an update, 12 a rollout, by 1 process(es)"]


@pytest.fixture
def other(tmp_path):
    """Another process that trains in the folder."""
    code = f"from train.launcher import take_folder; file = take_folder({str(tmp_path)!r})"
    code += "; print('has it', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_folder_is_one_trainings(other, tmp_path):
    with pytest.raises(RuntimeError, match=f"process {other.pid} on .* trains in {tmp_path}: .*output_dir"):
        take_folder(tmp_path, tries=1)
    other.kill()
    other.wait()
    take_folder(tmp_path, tries=1).close()  # the lock goes with the process, however that ends


def test_who_holds_a_folder_is_written_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    for _ in range(2):  # what an earlier one left is written over
        with take_folder(tmp_path / "new"):
            written = (tmp_path / "new" / LOCK).read_text()
            assert re.fullmatch(rf"process {os.getpid()} on \S+ \(Slurm job 12\)", written)


@pytest.mark.parametrize(
    "words, stays", [("", True), ("12 was told by USR1\n", True), ("11 was told by USR1\n", False)]
)
def test_what_another_job_was_told_is_forgotten(words, stays, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (tmp_path / "stop").write_text(words)
    take_folder(tmp_path).close()
    assert (tmp_path / "stop").exists() == stays


def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    take_folder(tmp_path).close()
    assert "No locks available" in caplog.text
