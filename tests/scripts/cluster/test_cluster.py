"""The launching scripts against stand-ins of Slurm: what they launch, and signals as checkpoint and requeue.

test_slurm.py and test_slurm_jobs.py do the same on a real Slurm, where there is one.
"""

import contextlib
import json
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
    "scontrol": """
[ "$1" = show ] && { echo node-a; echo node-b; exit; }
echo "$@" >> "$LOG/scontrol"
[ ! -f "$LOG/no_requeue" ]""",
    # a training: notes how it was launched, runs until it is told to stop, says that it was
    "accelerate": """
printf '%s\\n' "$@" > "$LOG/launched"
while :; do
  [ -f "$OUT/stop" ] && {
    [ -s "$OUT/stop" ] && by=signal || by=user
    rm "$OUT/stop"; echo "{\\"by\\": \\"$by\\"}" > "$OUT/interrupted.json"; exit 0; }
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
    arguments = ["ppo", "recipe.yaml", "zero3.yaml", str(tmp_path / "run")]
    processes = []

    def run(script="train.sbatch", **more):
        environ = os.environ | environment | {"GPUS": "8"} | more
        command = ["bash", f"scripts/cluster/{script}", *arguments]
        process = subprocess.Popen([*command, "--kl_coef", "0.02"], cwd=ROOT, env=environ, start_new_session=True)
        processes.append(process)
        for path in [tmp_path / "launched"] + [tmp_path / "served"] * ("VLLM_MODEL" in more):
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


def test_a_users_stop_is_not_requeued(job):
    process, folder = job
    (folder / "run" / "stop").touch()
    assert process.wait(timeout=LIMIT) == 75
    assert not (folder / "scontrol").exists()


def test_what_cannot_be_requeued_is_not_called_done(job):
    process, folder = job
    (folder / "no_requeue").touch()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=LIMIT) == 75


@pytest.mark.parametrize("left", [False, True])
def test_a_failed_training_is_not_requeued(left, job):
    process, folder = job
    if left:  # by an interruption that came before
        (folder / "run" / "interrupted.json").write_text('{"by": "signal"}')
    (folder / "finish").touch()
    assert process.wait(timeout=LIMIT) == 3
    assert not (folder / "scontrol").exists()


@pytest.mark.slow
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_without_slurm_a_signal_is_a_file(number, start, tmp_path):
    """The training itself does not hear it, and the file goes with the start that was told."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stop").write_text("launch_nodes.sh was told by SIGTERM")  # of a start that was killed
    process, folder = start(script="launch_nodes.sh", SLURM_JOB_ID="")
    os.killpg(process.pid, number)  # the way that Slurm and terminals signal
    assert process.wait(timeout=LIMIT) == 0
    assert json.loads((folder / "run" / "interrupted.json").read_text()) == {"by": "signal"}
    assert not (folder / "run" / "stop").exists()


def test_ctrl_c_ends_a_training_at_once(start):
    process, folder = start(script="launch_nodes.sh", SLURM_JOB_ID="")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=LIMIT) != 0
    assert not (folder / "run" / "interrupted.json").exists()
    wait_for(lambda: not subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout)


@pytest.mark.parametrize("script", ["train.sbatch", "launch_nodes.sh", "serve_vllm.sh"])
def test_usage(script):
    done = subprocess.run(["bash", f"scripts/cluster/{script}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert any(
        text in done.stderr for text in ("RECIPE", "sbatch --nodes", "serve_vllm.sh MODEL", "serve_vllm.sh Qwen")
    )
