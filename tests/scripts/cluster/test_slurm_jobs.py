"""What train.sbatch makes of a job's options on a real Slurm. A stand-in trains: it tells how it was launched."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from slurm_cluster import Cluster, missing

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing()), reason=missing())]

STAND_INS = {
    # a training in the folder $OUT, which $AS_IF says the fate of
    "accelerate": """
echo "launched by node $SLURM_NODEID with $OMP_NUM_THREADS threads on $(env -u OMP_NUM_THREADS nproc) CPUs"
echo "arguments $*"
while [ $# -gt 0 ]; do [ "$1" = --output_dir ] && OUT=$2; shift; done
case ${AS_IF:-done} in
  full_disk) sleep 1; echo '{"by": "signal"}' > "$OUT/interrupted.json" ;;
  waits) sleep 600 ;;
  asked) # the first start is told to stop, and needs its server for a while after that
    [ -d "$OUT/checkpoint-1" ] && exit
    until [ -e "$OUT/stop" ]; do sleep 0.2; done
    sleep 2
    mkdir "$OUT/checkpoint-1" && touch "$OUT/checkpoint-1/complete.json"
    rm "$OUT/stop"
    echo '{"by": "signal"}' > "$OUT/interrupted.json" ;;
esac
""",
    "vllm": 'echo "served $*"; trap "exit 5" TERM; [ "${AS_IF:-}" = waits ] && exit 5; sleep 600 & wait',
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bin")
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(stat.S_IRWXU)
    return {"SETUP": f"export PATH={folder}:{Path(sys.executable).parent}:$PATH"}


@pytest.fixture
def submit(cluster, setup, tmp_path):
    def submit(*options, launcher="single.yaml", output=tmp_path / "run", flags=(), **environment):
        command = [*options, "scripts/cluster/train.sbatch", "ppo", "recipe.yaml", f"configs/accelerate/{launcher}"]
        return cluster.submit(*command, output, *flags, **(setup | environment))

    return submit


def launches(cluster, job):
    return [line for line in cluster.log(job).splitlines() if "launched by node" in line]


def test_each_line_says_whose_it_is_and_each_node_launches_once(cluster, submit):
    job = submit("--nodes=2", "--gpus-per-node=4", "--ntasks-per-node=8", launcher="zero3.yaml")
    assert cluster.wait(job) == "COMPLETED", cluster.log(job)
    assert sorted(line[: len("0: launched by node 0")] for line in launches(cluster, job)) == [
        "0: launched by node 0",
        "1: launched by node 1",
    ]
    assert "--num_machines 2 --machine_rank 1 --num_processes 8 --main_process_ip node1" in cluster.log(job)


def test_a_launcher_for_gpus_needs_gpus(cluster, submit):
    job = submit("--nodes=2", launcher="zero3.yaml")
    assert (cluster.wait(job), cluster.fact(job, "ExitCode")) == ("FAILED", "2:0")
    assert "--gpus-per-node N" in cluster.log(job)
    job = submit(launcher="zero3.yaml", PROCESSES_PER_NODE="4")
    assert cluster.wait(job) == "COMPLETED"
    assert "--num_processes 4" in cluster.log(job)


def test_without_gpus_the_log_says_how_many_processes(cluster, submit):
    job = submit()
    assert cluster.wait(job) == "COMPLETED"
    assert "the job asked for no GPU: PROCESSES_PER_NODE is 1" in cluster.log(job)
    assert cluster.fact(job, "CPUs/Task") == "1"  # no default that a small node cannot give


def test_few_cpus_are_warned_of_and_threads_share_them(cluster, submit):
    job = submit("--gpus-per-node=4")
    assert cluster.wait(job) == "COMPLETED"
    assert "1 CPU(s) for 4 processes" in cluster.log(job)
    job = submit("--gpus-per-node=4", "--cpus-per-task=32")
    assert cluster.wait(job) == "COMPLETED"
    assert "warning" not in cluster.log(job)
    assert "with 8 threads" in cluster.log(job)


def test_the_tasks_of_an_array_have_folders_of_their_own(cluster, submit, tmp_path):
    job = submit("--array=0-1", output=tmp_path / "run_%a", flags=["--seed", "%a"])
    for task in (0, 1):
        assert cluster.wait(f"{job}_{task}") == "COMPLETED"
        assert (tmp_path / f"run_{task}").is_dir()
    logs = "".join(path.read_text() for path in (cluster.folder / "log").glob("job-*"))
    assert "run_1 --resume_from_checkpoint latest --seed 1" in logs


def test_restarts_without_a_checkpoint_come_to_an_end(cluster, submit):
    job = submit(AS_IF="full_disk")
    assert (cluster.wait(job, restarts=3), cluster.fact(job, "ExitCode")) == ("FAILED", "75:0")
    assert cluster.fact(job, "Restarts") == "3"
    assert "no new checkpoint in 4 starts" in cluster.log(job)


@pytest.mark.parametrize("options", [["--gpus=16"], ["--gpus-per-node=8"], ["--gres=gpu:8"], ["--gpus-per-task=8"]])
def test_a_node_for_vllm_with_gpus_of_its_own(options, cluster, submit):
    job = submit("--nodes=2", *options, launcher="zero3.yaml", VLLM_MODEL="a/model", VLLM_FLAGS="--max-model-len 99")
    assert cluster.wait(job) == "COMPLETED", cluster.log(job)
    assert len(launches(cluster, job)) == 1
    assert "--num_machines 1 --machine_rank 0 --num_processes 8" in cluster.log(job)
    assert "--vllm_server_host node2" in cluster.log(job)


def test_a_server_that_died_ends_the_job(cluster, submit):
    job = submit("--nodes=2", "--gpus-per-node=8", VLLM_MODEL="a/model", VLLM_FLAGS="-tp 8", AS_IF="waits")
    assert cluster.wait(job) == "FAILED"  # the training would have waited 10 minutes
    assert "the vLLM server has ended with status 5" in cluster.log(job)


def test_the_server_outlives_a_preemption(cluster, submit):
    """Its step hears SIGTERM as well, and the training could not end its step without it."""
    job = submit("--nodes=2", "--gpus-per-node=8", VLLM_MODEL="a/model", VLLM_FLAGS="-tp 8", AS_IF="asked")
    for text in ("served", "launched by node"):
        cluster.wait_for_log(job, text)
    cluster.run("scancel", "--signal=TERM", job)
    assert cluster.wait(job, restarts=1) == "COMPLETED", cluster.log(job)
    assert "server has ended" not in cluster.log(job)
    assert cluster.fact(job, "Restarts") == "1"


def test_a_server_that_cannot_share_the_heads_ends_the_job(cluster, submit, tmp_path):
    config = {"model_type": "qwen2", "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 56}
    (tmp_path / "config.json").write_text(json.dumps(config))
    job = submit("--nodes=2", "--gpus-per-node=8", VLLM_MODEL=str(tmp_path), VLLM_FLAGS="-tp 8", AS_IF="waits")
    assert cluster.wait(job) == "FAILED"
    assert "give --tensor-parallel-size 1 or 2 or 4" in cluster.log(job)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU is all that there is to share")
def test_a_nodes_processes_share_all_cpus_of_the_job(tmp_path_factory, setup):
    """SLURM_CPU_BIND=cores, which some sites set, binds a task to its own CPUs: the launcher's must be all."""
    cpus = os.cpu_count()
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "bound", cpus=cpus, gpus=1, task_plugin="task/affinity")
    try:
        cluster.start()
        command = ["scripts/cluster/train.sbatch", "ppo", "recipe.yaml", "configs/accelerate/single.yaml"]
        for options in ([f"--cpus-per-task={cpus}"], [f"--ntasks-per-node={cpus}"]):
            run = tmp_path_factory.mktemp("run")
            job = cluster.submit("--nodes=2", *options, *command, run, **setup, SLURM_CPU_BIND="cores")
            assert cluster.wait(job) == "COMPLETED", cluster.log(job)
            assert [f"on {cpus} CPUs" in line for line in launches(cluster, job)] == [True, True]
    finally:
        cluster.stop()
