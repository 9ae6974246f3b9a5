"""A run's folder describes itself: run.json, metrics.jsonl, training.png; W&B, Trackio and TensorBoard get the same,
in one run of theirs over all restarts."""

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from matplotlib.image import imread
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback
from transformers.trainer_callback import ProgressCallback

from rewards.reporting.record import git_commit, versions
from train.evaluation.training_figure import draw_training


@dataclass
class TrackingArguments:
    """Names of the run in Weights & Biases, beside TRL's own run_name and report_to. Nothing is sent unless report_to
    says so."""

    run_project: str = field(default="endorm", metadata={"help": "W&B project; the WANDB_PROJECT variable wins."})
    run_group: str | None = field(default=None, metadata={"help": "W&B group, e.g. one for all seeds of a recipe."})
    run_tags: list[str] | None = field(default=None, metadata={"help": "W&B tags."})

    def set_environment(self) -> None:
        """Tell W&B through its own variables; those that are set already win."""
        os.environ.setdefault("WANDB_PROJECT", self.run_project)
        if self.run_group:
            os.environ.setdefault("WANDB_RUN_GROUP", self.run_group)
        if self.run_tags:
            os.environ.setdefault("WANDB_TAGS", ",".join(self.run_tags))


class Trackers(TrainerCallback):
    """Lets a resumed run go on as one run of each tracker: `trackers.json` in the run's folder keeps its id and which
    rows each tracker has.

    A run that was killed repeats the steps after its checkpoint. Their rows are with the trackers already, so they are
    not sent again; metrics.jsonl has the repeated ones. Only TRL's tables of responses are sent twice.

    Args:
        args: of the trainer. `run_name`, by which Trackio finds a run, gets the run's folder and id unless it is set.
        project: of Trackio, unless `args` say so.
    """

    FILE = "trackers.json"
    CALLBACKS = {"wandb": WandbCallback, "trackio": TrackioCallback, "tensorboard": TensorBoardCallback}

    def __init__(self, args, project: str):
        self.path = Path(args.output_dir) / self.FILE
        resumed = self.path.is_file() and str(args.resume_from_checkpoint).lower() not in ("none", "false")
        facts: dict = json.loads(self.path.read_text(encoding="utf-8")) if resumed else {"id": uuid.uuid4().hex[:8]}
        self.id: str = facts["id"]
        self.has = {name: tuple(row) for name, row in facts.get("has", {}).items()}  # (step, rows of that step)
        self.wandb_step: int = facts.get("wandb_step", 0)
        self._now: dict[str, tuple[int, int]] = {}
        if args.project == "huggingface":  # the default of transformers
            args.project = project
        if args.run_name is None and args.report_to:
            args.run_name = f"{Path(args.output_dir).name}-{self.id}"
        if "wandb" in args.report_to:
            os.environ.setdefault("WANDB_RUN_ID", self.id)
            os.environ.setdefault("WANDB_RESUME", "allow")

    def attach(self, trainer) -> None:
        """Stand before the trackers of a trainer, and let through what they do not have. Callbacks that log something
        have been added by now."""
        for name, kind in self.CALLBACKS.items():
            for callback in trainer.callback_handler.callbacks:
                if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                    callback.logging_dir = str(self.path.parent / "runs" / self.id)
                if isinstance(callback, kind):
                    vars(callback)["on_log"] = partial(self._once, name, callback.on_log)
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, **kwargs):
        self._write(args, state)
        run = wandb_run(args)
        if run is not None and run.step < self.wandb_step:
            # W&B counts what is logged, offline from 0 in each process, and its server drops a number that it has
            run.log({}, step=self.wandb_step)

    def on_train_end(self, args, state, control, **kwargs):
        self._write(args, state)  # W&B has counted the figure

    def _once(self, name: str, on_log: Callable, args, state, control, **kwargs) -> None:
        if not state.is_world_process_zero:
            return
        step, rows = self._now.get(name, (-1, 0))
        self._now[name] = (state.global_step, rows + 1 if step == state.global_step else 1)
        if self._now[name] > self.has.get(name, (-1, 0)):
            on_log(args, state, control, **kwargs)
            self.has[name] = self._now[name]
            self._write(args, state)

    def _write(self, args, state) -> None:
        if not (args.report_to and state.is_world_process_zero):
            return
        run = wandb_run(args)
        self.wandb_step = max(self.wandb_step, run.step if run is not None else 0)
        facts = {"id": self.id, "has": self.has, "wandb_step": self.wandb_step}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")  # a kill leaves the old file or the new one
        temporary.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        temporary.replace(self.path)


def wandb_run(args):
    """The run of W&B, None unless `report_to` asks for one."""
    if "wandb" not in (args.report_to or ()):
        return None
    import wandb

    return wandb.run


def count(parameters) -> int:
    """Entries of all `parameters`, over all processes that they may be split over."""
    return sum(getattr(p, "ds_numel", p.numel()) for p in parameters)


class RunFolder(TrainerCallback):
    """Writes run.json before, metrics.jsonl during and training.png after a training, and passes them to trackers.

    Args:
        trainer: whose run it is.
        recipe: the parsed dataclasses, beside the trainer's own arguments.
    """

    def __init__(self, trainer, *recipe):
        self.trainer = trainer
        self._tensorboard_folder = None
        self.recipe = {k: v for part in recipe for k, v in asdict(part).items()}

    def on_train_begin(self, args, state, control, **kwargs):
        if not state.is_world_process_zero:
            return
        facts = {
            "command": sys.argv,
            "git_commit": git_commit(),
            "versions": versions(),
            "processes": self.trainer.accelerator.num_processes,
            "launcher": str(self.trainer.accelerator.distributed_type),
            "resumed_at_step": state.global_step,
            "parameters": self._parameters(),
            "recipe": args.to_sanitized_dict() | self.recipe,
        }
        folder = Path(args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")
        self._keep_metrics_up_to(state.global_step, folder / "metrics.jsonl")
        if (run := wandb_run(args)) is not None:
            config = {k: facts[k] for k in ("git_commit", "versions", "processes", "launcher", "parameters")}
            run.config.update(config | self.recipe, allow_val_change=True)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs:
            row = {"step": state.global_step, "time": round(time.time(), 3), **logs}
            with (Path(args.output_dir) / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            for callback in self.trainer.callback_handler.callbacks:
                if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                    self._tensorboard_folder = callback.tb_writer.log_dir

    def on_train_end(self, args, state, control, **kwargs):
        if not state.is_world_process_zero:
            return
        path = Path(args.output_dir) / "training.png"
        if not draw_training(state.log_history, path):
            return
        if (run := wandb_run(args)) is not None:
            import wandb

            run.log({"training": wandb.Image(str(path))})
            artifact = wandb.Artifact(f"training-{run.id}", type="figure")
            artifact.add_file(str(path))
            run.log_artifact(artifact)
        if self._tensorboard_folder is not None:  # its own writer is closed by now
            from torch.utils.tensorboard import SummaryWriter

            with SummaryWriter(self._tensorboard_folder) as writer:
                writer.add_image("training", imread(path), state.global_step, dataformats="HWC")

    def _parameters(self) -> dict[str, int]:
        """How many weights the networks hold; a frozen base that is the policy with its adapter off holds none."""
        policy, frozen = list(self.trainer.model.parameters()), self.trainer.frozen_base
        return {
            "policy": count(policy),
            "trained": count(p for p in policy if p.requires_grad),
            "frozen_base": 0 if frozen.adapter_off else count(frozen.model.parameters()),
        }

    @staticmethod
    def _keep_metrics_up_to(step: int, path: Path) -> None:
        """A resumed run repeats the steps after its checkpoint: their rows go."""
        rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [row for row in rows if row and json.loads(row)["step"] <= step] if step else []
        path.write_text("".join(row + "\n" for row in kept), encoding="utf-8")


# what is shown of each logging step: label, metric, format; all of it still goes to report_to and trainer_state.json
SHOWN = (
    ("kl", "kl/k1", ".4f"),
    ("entropy", "entropy", ".3f"),
    ("length", "completions/mean_length", ".1f"),
    ("ended", "completions/eos_rate", ".2f"),
    ("explained", "critic/explained_variance", ".3f"),
    ("loss", "loss", ".4f"),
    ("lr", "learning_rate", ".1e"),
)


def summary_line(logs: dict, step: int, steps: int, rewards: Sequence[str] = ()) -> str:
    """`step 8/480  reward 0.171  kl 0.0012 ...`: the reward, each of `rewards` where there are several, by the names
    that the recipe gives them, and the metrics of SHOWN, as far as `logs` has them. An evaluation's say `held out`."""
    heldout = "eval_" if any(metric.startswith("eval_") for metric in logs) else ""
    several = [(name, f"rewards/{name}/mean", ".3f") for name in rewards] if len(rewards) > 1 else []
    shown = [("reward", "reward", ".3f"), *several, *SHOWN]
    found = [(label, logs.get(heldout + metric), form) for label, metric, form in shown]
    parts = [f"{label} {value:{form}}" for label, value, form in found if value is not None]
    return "  ".join([f"step {step}/{steps}", *(["held out"] if heldout else []), *parts])


class ConsoleCallback(ProgressCallback):
    """The progress bar of transformers with one line of metrics in place of the dictionary.

    Args:
        rewards: names of the run's rewards.
    """

    def __init__(self, rewards: Sequence[str]):
        super().__init__()
        self.rewards = rewards

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None and logs and "train_runtime" not in logs:
            self.training_bar.write(summary_line(logs, state.global_step, state.max_steps, self.rewards))
