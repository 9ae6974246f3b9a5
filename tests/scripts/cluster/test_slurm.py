"""Trainings by train.sbatch on a real Slurm of two nodes: whatever interrupts them, they end with the same weights."""

import json

import pytest
from interruptions import KINDS, PREEMPTED, STEPS, Matrix, Trainings
from slurm_cluster import missing

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def trainings(cluster, tmp_path_factory, rehearsal, problems):
    return Trainings(cluster, tmp_path_factory.mktemp("runs"), rehearsal, problems)


@pytest.fixture(scope="module")
def matrix(trainings, request):
    items = [item for item in request.session.items if "matrix" in getattr(item, "fixturenames", ())]
    chosen = [item.callspec.params for item in items if hasattr(item, "callspec")]
    wanted = [(each["kind"], each["nodes"]) for each in chosen]
    matrix = Matrix(trainings, wanted, shared=len(chosen) < len(items))
    yield matrix
    matrix.close()


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("kind", [*KINDS, *PREEMPTED])
def test_an_interrupted_training_ends_as_one_that_went_through(kind, nodes, matrix, record_property):
    outcome = matrix.outcome(kind, nodes)
    record_property("outcome", outcome)
    print(f"{kind}, {nodes} node(s): {outcome['state']}, {outcome['restarts']} restart(s), {outcome['difference']}")
    assert outcome["steps"] == list(range(1, STEPS + 1))
    assert outcome["difference"] == 0.0
    assert outcome["restarts"] == (KINDS | PREEMPTED)[kind][2]
    assert outcome["left"] == []


def test_a_job_without_arguments_is_told_the_usage(cluster, trainings):
    job = cluster.submit("scripts/cluster/train.sbatch", "ppo")
    assert (cluster.wait(job), cluster.fact(job, "ExitCode")) == ("FAILED", "2:0")
    assert "sbatch --nodes" in cluster.log(job)


@pytest.mark.parametrize("folder", ["fresh", "interrupted"])
def test_a_failing_training_is_not_requeued(folder, cluster, trainings):
    run = trainings.folder / f"fails, {folder}"
    if folder == "interrupted":
        run.mkdir()
        (run / "interrupted.json").write_text('{"step": 3, "of": 9, "by": "signal"}')
    job = trainings.submit(run, "--no_such_field", "1")
    assert (cluster.wait(job), cluster.fact(job, "Restarts")) == ("FAILED", "0")


def test_a_job_that_may_not_be_requeued_is_not_called_completed(cluster, trainings, tmp_path):
    job = trainings.submit(trainings.folder / "once", options=["--no-requeue"], HELD_AT="step 3", HELD=str(tmp_path))
    later = cluster.submit(f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes", "--wrap=true")
    cluster.wait_for_log(job, "step 2/")
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    cluster.wait_for_log(job, "asking the training")
    (tmp_path / "go").touch()
    assert (cluster.wait(job), cluster.fact(job, "ExitCode")) == ("FAILED", "75:0")
    assert cluster.wait(later) == "CANCELLED"
    assert "submit it again" in cluster.log(job)


def test_a_users_stop_file_stops(cluster, trainings):
    run = trainings.folder / "stopped"
    run.mkdir()
    (run / "stop").touch()
    job = trainings.submit(run)
    assert (cluster.wait(job), cluster.fact(job, "ExitCode"), cluster.fact(job, "Restarts")) == ("FAILED", "75:0", "0")
    assert json.loads((run / "interrupted.json").read_text())["by"] == "user"
    assert cluster.wait(trainings.submit(run, "--max_steps", "2")) == "COMPLETED"  # submitted again, it goes on


def test_a_time_below_that_of_slurms_warning_is_used(cluster, trainings, tmp_path):
    job = trainings.submit(trainings.folder / "short", options=["--time=10"], HELD_AT="step 3", HELD=str(tmp_path))
    cluster.wait_for_log(job, "USR1 at the start of a short job")
    (tmp_path / "go").touch()
    assert (cluster.wait(job), cluster.fact(job, "Restarts")) == ("COMPLETED", "0")


def test_more_tasks_a_node_and_another_folder(cluster, trainings, tmp_path):
    """One launcher a node, whatever --ntasks-per-node; relative paths of the project from anywhere."""
    job = trainings.submit("a run", "--max_steps", "2", options=["--ntasks-per-node=8"], cwd=tmp_path)
    assert cluster.wait(job) == "COMPLETED", cluster.log(job)[-3000:]
    assert json.loads((tmp_path / "a run" / "run.json").read_text())["processes"] == 1


def test_a_second_job_leaves_the_folder_alone(matrix):
    outcome = matrix.shared.result()
    assert (outcome["second"], outcome["restarts"], outcome["first"]) == ("FAILED", "0", "COMPLETED")
    assert f"(Slurm job {outcome['first job']}) trains in" in outcome["log"]
