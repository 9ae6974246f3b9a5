"""Trainings on a real Slurm, interrupted at a chosen point in every way that we know of, then left to finish."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file
from slurm_cluster import Cluster, wait_until
from tiny_models import ROOT

SCRIPT = ROOT / "scripts" / "cluster" / "train.sbatch"
STEPS = 12
RECIPE = {
    "dtype": "float32",
    "eos_token": "<|im_end|>",
    "max_prompt_length": 256,
    "max_completion_length": 8,
    "reward_funcs": ["endorm"],
    "kl_coef": 0.01,
    "learning_rate": 1.0e-3,
    "lr_scheduler_type": "constant",
    "num_generations": 1,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 2,
    "max_steps": STEPS,
    "logging_steps": 1,
    "save_steps": 5,
    "save_total_limit": 3,
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "disable_tqdm": False,
}
LONG_STEP = 60  # seconds; torch's agent kills workers 30 seconds after a SIGTERM that it hears


class Trainings:
    """Submits trainings of a tiny model to a cluster.

    Args:
        cluster: running.
        folder: for recipe and runs.
        model, problems: what is trained, and on what.
    """

    def __init__(self, cluster: Cluster, folder: Path, model: str, problems: str):
        self.cluster, self.folder = cluster, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.recipe = folder / "my recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(RECIPE | {"model_name_or_path": model, "dataset_name": problems}))
        path = f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={ROOT}/tests/support/held"
        self.setup = {"SETUP": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

    def submit(self, output: Path | str, *flags: object, options=(), cwd: Path = ROOT, **environment: str) -> str:
        """A job of train.sbatch, on two nodes where `options` say so."""
        launcher = "configs/accelerate/" + ("cpu_ddp.yaml" if "--nodes=2" in options else "single.yaml")
        command = [*options, SCRIPT, "ppo", self.recipe, launcher, output, *flags]
        return self.cluster.submit(*command, cwd=cwd, **(self.setup | environment))


def steps_of(run: Path) -> list[int]:
    """The steps in a run's metrics, in their order."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["step"] for row in rows if "loss" in row]


def largest_difference(a: Path, b: Path) -> float:
    """Of any weight of policy or critic of two runs."""
    worst = 0.0
    for file in ("model.safetensors", "critic.safetensors"):
        one, other = load_file(a / file), load_file(b / file)
        assert one.keys() == other.keys()
        worst = max([worst, *(float((one[k] - other[k]).abs().max()) for k in one)])
    assert torch.isfinite(torch.tensor(worst))
    return worst


class Interrupted:
    """One training that is held at a point, interrupted there, and goes on.

    Args:
        trainings: where it is submitted.
        kind: of `KINDS` or `PREEMPTED`.
        nodes: 1 or 2.
    """

    def __init__(self, trainings: Trainings, kind: str, nodes: int):
        self.trainings, self.kind, self.nodes = trainings, kind, nodes
        self.cluster = trainings.cluster
        self.run = trainings.folder / f"{kind}, {nodes}"
        self.held = trainings.folder / f"held: {kind}, {nodes}"
        self.held.mkdir()

    def begin(self) -> None:
        at = (KINDS | PREEMPTED)[self.kind][0]
        self.job = self.trainings.submit(self.run, options=[f"--nodes={self.nodes}"], HELD_AT=at, HELD=str(self.held))

        def there():
            assert self.cluster.fact(self.job, "JobState") != "FAILED", self.cluster.log(self.job)[-3000:]
            return (self.held / "reached").exists() and (self.held / "reached").read_text()

        wait_until(there, f"{self.run.name} at {at}")

    def go_on(self) -> None:
        (self.held / "go").touch()

    def resubmit(self) -> None:
        self.job = self.trainings.submit(self.run, options=[f"--nodes={self.nodes}"])

    def scancel(self, *flags: str) -> None:
        self.cluster.run("scancel", *flags, self.job)

    def finish(self, whole: Path, restarts: int) -> dict:
        """What came of it, beside an uninterrupted run."""
        state = self.cluster.wait(self.job, restarts)
        outcome = {"state": state, "restarts": int(self.cluster.fact(self.job, "Restarts"))}
        assert state == "COMPLETED", self.cluster.log(self.job)[-5000:]
        left = [name for name in ("stop", "interrupted.json") if (self.run / name).exists()]
        return outcome | {"steps": steps_of(self.run), "difference": largest_difference(self.run, whole), "left": left}


def two_in_one_folder(trainings: Trainings) -> dict:
    """What comes of a job whose folder another job trains in. It waits for a minute and a half before it gives up."""
    run, held, cluster = trainings.folder / "shared", trainings.folder / "held: shared", trainings.cluster
    held.mkdir()
    first = trainings.submit(run, "--max_steps", "4", HELD_AT="step 3", HELD=str(held))
    cluster.wait_for_log(first, "step 2/")
    second = trainings.submit(run, "--max_steps", "4")
    outcome = {"first job": first, "second": cluster.wait(second), "restarts": cluster.fact(second, "Restarts")}
    (held / "go").touch()
    return outcome | {"first": cluster.wait(first), "log": cluster.log(second)}


def asked(one: Interrupted, *flags: str) -> None:
    one.scancel(*flags)
    one.cluster.wait_for_log(one.job, "asking the training to save and stop")
    one.go_on()


def requeued(one: Interrupted) -> None:
    one.cluster.run("scontrol", "requeue", one.job)


def cancelled(one: Interrupted) -> None:
    """The old training still saves while the new job starts."""
    one.scancel()
    one.resubmit()
    one.go_on()


def killed(one: Interrupted) -> None:
    os.kill(int((one.held / "reached").read_text()), signal.SIGKILL)
    assert one.cluster.wait(one.job) == "FAILED"
    one.resubmit()


# where the training is held, how it is interrupted, and how often Slurm starts the last job anew
KINDS: dict[str, tuple[str, Callable[[Interrupted], None], int]] = {
    "USR1 to the batch script": ("step 7", lambda one: asked(one, "--batch", "--signal=USR1"), 1),
    "USR1 to the steps": ("step 7", lambda one: asked(one, "--signal=USR1"), 1),
    "TERM to the steps": ("step 7", lambda one: asked(one, "--signal=TERM"), 1),
    "requeue": ("step 7", requeued, 1),
    "scancel, submitted again": ("step 7", cancelled, 0),
    "kill -9 in a save, submitted again": ("save 10", killed, 0),
}
PREEMPTED = {
    "preempted at its start": ("start", None, 1),
    "preempted in a long step": ("step 7", None, 1),
    "preempted in a save": ("save 10", None, 1),
}


class Matrix:
    """Interruptions on one and two nodes, some of them at a time; `outcome` waits for one.

    Most of a training's time here is Slurm's, so that three at a time keep two cores busy.

    Args:
        trainings: where they are submitted.
        wanted: pairs of a kind and a number of nodes.
        shared: run `two_in_one_folder` too, beside them.
    """

    def __init__(self, trainings: Trainings, wanted: list[tuple[str, int]], shared: bool, at_a_time: int = 3):
        self.trainings, self.cluster = trainings, trainings.cluster
        self.preempted = [(kind, nodes) for kind, nodes in wanted if kind in PREEMPTED]
        self.pool = ThreadPoolExecutor(at_a_time)
        self.shared = self.pool.submit(two_in_one_folder, trainings) if shared else None
        self.outcomes: dict[tuple[str, int], Future] = {}
        self.wholes = {nodes: self.pool.submit(self._whole, nodes) for nodes in sorted({n for _, n in wanted})}
        for kind, nodes in wanted:
            if kind in KINDS:
                self.outcomes[kind, nodes] = self.pool.submit(self._interrupt, kind, nodes)
        self.others = [*self.outcomes.values(), *([self.shared] if self.shared else [])]

    def _whole(self, nodes: int) -> Path:
        run = self.trainings.folder / f"whole, {nodes}"
        job = self.trainings.submit(run, options=[f"--nodes={nodes}"])
        assert self.cluster.wait(job) == "COMPLETED", self.cluster.log(job)[-5000:]
        assert steps_of(run) == list(range(1, STEPS + 1))
        return run

    def _interrupt(self, kind: str, nodes: int) -> dict:
        one = Interrupted(self.trainings, kind, nodes)
        _, interrupt, restarts = KINDS[kind]
        one.begin()
        interrupt(one)
        return one.finish(self.wholes[nodes].result(), restarts)

    def preempt(self) -> None:
        """One urgent job preempts trainings at three points; nothing else may run, since it takes both nodes."""
        wait(self.others)
        ones = [Interrupted(self.trainings, kind, nodes) for kind, nodes in self.preempted]
        list(self.pool.map(Interrupted.begin, ones))
        urgent = self.cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", "--wrap=true")
        for one in ones:
            self.cluster.wait_for_log(one.job, "SIGTERM: asking the training to save and stop")
        time.sleep(LONG_STEP)
        for one in ones:
            one.go_on()
        self.cluster.wait(urgent)
        for one in ones:
            future = self.pool.submit(one.finish, self.wholes[one.nodes].result(), PREEMPTED[one.kind][2])
            self.outcomes[one.kind, one.nodes] = future

    def outcome(self, kind: str, nodes: int) -> dict:
        if (kind, nodes) not in self.outcomes:
            self.preempt()
        return self.outcomes[kind, nodes].result()

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
