"""The Slurm script against stand-ins of Slurm's commands: what it launches, and USR1 as checkpoint and requeue."""

import os
import signal
import stat
import subprocess
import time

import pytest
from conftest import ROOT

STAND_INS = {
    "srun": 'shift; exec "$@"',
    "scontrol": '[ "$1" = show ] && { echo node-a; echo node-b; } || echo "$@" >> "$LOG/scontrol"',
    # a training: notes how it was launched, runs until it is told to stop, says that it was
    "accelerate": """
printf '%s\\n' "$@" > "$LOG/launched"
for i in $(seq 200); do
  [ -f "$OUT/stop" ] && { rm "$OUT/stop"; echo '{}' > "$OUT/interrupted.json"; exit 0; }
  [ -f "$LOG/finish" ] && exit 3
  sleep 0.05
done
exit 9""",
}


@pytest.fixture
def job(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(stat.S_IRWXU)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "LOG": str(tmp_path),
        "OUT": str(tmp_path / "run"),
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_NNODES": "2",
        "SLURM_NODEID": "1",
        "SLURM_GPUS_ON_NODE": "8",
    }
    command = ["bash", "scripts/slurm/train.sbatch", "ppo", "recipe.yaml", "zero3.yaml", str(tmp_path / "run")]
    process = subprocess.Popen([*command, "--kl_coef", "0.02"], cwd=ROOT, env=os.environ | environment)
    end = time.monotonic() + 20
    while not (tmp_path / "launched").exists() or not (tmp_path / "launched").read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    yield process, tmp_path
    process.kill()


def test_usr1_asks_for_a_checkpoint_and_requeues(job):
    process, folder = job
    launched = (folder / "launched").read_text().split("\n")
    assert launched[:3] == ["launch", "--config_file", "zero3.yaml"]
    for flag, value in {
        "--num_machines": "2",
        "--machine_rank": "1",
        "--num_processes": "16",
        "--main_process_ip": "node-a",
        "--config": "recipe.yaml",
        "--resume_from_checkpoint": "latest",
        "--kl_coef": "0.02",
    }.items():
        assert launched[launched.index(flag) + 1] == value
    assert "train/ppo_endorm.py" in launched
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=20) == 0
    assert (folder / "scontrol").read_text().split() == ["requeue", "123456"]


def test_a_failed_training_is_not_requeued(job):
    process, folder = job
    (folder / "finish").touch()
    assert process.wait(timeout=20) == 3
    assert not (folder / "scontrol").exists()


@pytest.mark.parametrize("script", ["slurm/train.sbatch", "launch_nodes.sh"])
def test_usage(script):
    done = subprocess.run(["bash", f"scripts/{script}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "RECIPE" in done.stderr or "sbatch --nodes" in done.stderr
