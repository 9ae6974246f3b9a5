"""The Slurm script against stand-ins of Slurm's commands: what it launches, and USR1 as checkpoint and requeue."""

import contextlib
import os
import signal
import stat
import subprocess
import time

import pytest
from limits import LIMIT
from tiny_models import ROOT

STAND_INS = {
    # notes its own options, runs the command
    "srun": """
options=()
while [ "$1" != bash ]; do options+=("$1"); shift; done
echo "${options[@]}" >> "$LOG/srun"
exec "$@" """,
    "vllm": """echo "$VLLM_SERVER_DEV_MODE $*" > "$LOG/served"; exec sleep infinity""",
    "scontrol": '[ "$1" = show ] && { echo node-a; echo node-b; } || echo "$@" >> "$LOG/scontrol"',
    # a training: notes how it was launched, runs until it is told to stop, says that it was
    "accelerate": """
printf '%s\\n' "$@" > "$LOG/launched"
while :; do
  [ -f "$OUT/stop" ] && { rm "$OUT/stop"; echo '{}' > "$OUT/interrupted.json"; exit 0; }
  [ -f "$LOG/finish" ] && exit 3
  sleep 0.05
done""",
}


def wait_for(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path):
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
    command = ["bash", "scripts/cluster/train.sbatch", "ppo", "recipe.yaml", "zero3.yaml", str(tmp_path / "run")]
    processes = []

    def run(**more):
        environ = os.environ | environment | more
        process = subprocess.Popen([*command, "--kl_coef", "0.02"], cwd=ROOT, env=environ, start_new_session=True)
        processes.append(process)
        for path in [tmp_path / "launched"] + [tmp_path / "served"] * bool(more):
            wait_for(lambda path=path: path.exists() and path.read_text())
        return process, tmp_path

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def job(start):
    return start()


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
    assert process.wait(timeout=LIMIT) == 0
    assert (folder / "scontrol").read_text().split() == ["requeue", "123456"]


def test_a_failed_training_is_not_requeued(job):
    process, folder = job
    (folder / "finish").touch()
    assert process.wait(timeout=LIMIT) == 3
    assert not (folder / "scontrol").exists()


def test_a_node_for_vllm(start):
    """The last node serves, the others train; the server goes when the training has ended."""
    process, folder = start(VLLM_MODEL="a/model", VLLM_FLAGS="--tensor-parallel-size 4 --max-model-len 2048")
    served = (folder / "served").read_text()
    assert served.startswith("1 serve a/model --tensor-parallel-size 4 --max-model-len 2048 --weight-transfer-config")
    assert "--logprobs-mode processed_logprobs" in served
    launched = (folder / "launched").read_text().split("\n")
    for flag, value in {
        "--num_machines": "1",
        "--num_processes": "8",
        "--use_vllm": "true",
        "--vllm_mode": "server",
        "--vllm_server_host": "node-b",
    }.items():
        assert launched[launched.index(flag) + 1] == value
    steps = (folder / "srun").read_text().splitlines()
    assert any("--nodelist node-b" in step for step in steps)
    assert any("--nodes 1 --ntasks 1 --exclude node-b" in step for step in steps)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=LIMIT) == 0
    wait_for(lambda: not subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout)  # it is gone


@pytest.mark.parametrize("script", ["train.sbatch", "launch_nodes.sh", "serve_vllm.sh"])
def test_usage(script):
    done = subprocess.run(["bash", f"scripts/cluster/{script}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert any(
        text in done.stderr for text in ("RECIPE", "sbatch --nodes", "serve_vllm.sh MODEL", "serve_vllm.sh Qwen")
    )
