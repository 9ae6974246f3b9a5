"""Checkpoints that can be trusted: complete or not there, written on a signal, and never lost to a full disk."""

import json
import logging
import re
import shutil
import signal
import time
from pathlib import Path

import torch
from accelerate.utils import send_to_device
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

logger = logging.getLogger(__name__)

COMPLETE = "complete.json"  # written last, so that a folder with it holds everything
INTERRUPTED = "interrupted.json"  # in the run's folder: it was told to stop early, and resuming goes on with it


def newest_complete(output_dir: str | Path) -> str | None:
    """The checkpoint of the highest step in a run's folder that was written to its end; None if there is none.

    A half-written one (no complete.json) is passed over, with a warning.
    """
    found = [(int(m[1]), p) for p in Path(output_dir).glob("*") if (m := re.fullmatch(r"checkpoint-(\d+)", p.name))]
    for _, path in sorted(found, reverse=True):
        if (path / COMPLETE).exists():
            return str(path)
        logger.warning("%s was never finished (no %s): passed over", path, COMPLETE)
    return None


def mark_complete(folder: str | Path, **facts) -> None:
    """Declare a checkpoint complete, with facts such as step and number of processes."""
    temporary = Path(folder) / f"{COMPLETE}.tmp"
    temporary.write_text(json.dumps(facts))
    temporary.rename(Path(folder) / COMPLETE)


def checkpoint_bytes(model: torch.nn.Module) -> int:
    """Estimated size of a checkpoint: what is saved of the weights, and two fp32 Adam moments of what is trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    saved = trained if hasattr(model, "peft_config") else list(model.parameters())
    size = [getattr(p, "ds_numel", p.numel()) for p in trained]
    return sum(getattr(p, "ds_numel", p.numel()) * p.element_size() for p in saved) + 8 * sum(size)


def enough_space(folder: str | Path, needed: int) -> bool:
    """Whether `needed` bytes fit beside what is there; if not, an error is logged that says how much is missing."""
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return True
    logger.error(
        "NOT saving a checkpoint: it takes about %.2f GB and %s has %.2f GB left. Older checkpoints stay. Free some "
        "space or lower save_total_limit; the next save tries again.",
        needed / 1e9,
        folder,
        free / 1e9,
    )
    return False


class StopOnRequest(TrainerCallback):
    """Save a checkpoint at the end of the current step and end the training normally (exit code 0) when told to.

    Any process may be told by SIGTERM or SIGUSR1, and all of them by a file `stop` in the run's folder, which works
    for any launcher on any number of machines. All processes agree at each step's end, so that none saves alone.
    (The just-in-time checkpoint of transformers does not, and may save between backward and optimizer step.)
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
    STOP_FILE = "stop"

    def __init__(self, trainer):
        self.trainer, self.told, self._handlers = trainer, False, {}

    def _on_signal(self, number, _frame):
        self.told = True
        logger.warning("%s received: saving at the end of this step, then ending", signal.Signals(number).name)

    def on_train_begin(self, args, state, control, **kwargs):
        self._handlers = {s: signal.signal(s, self._on_signal) for s in self.SIGNALS}
        if args.should_save:
            (Path(args.output_dir) / INTERRUPTED).unlink(missing_ok=True)

    def on_step_end(self, args, state, control, **kwargs):
        stop_file = Path(args.output_dir) / self.STOP_FILE
        told = self.told
        if args.should_save and stop_file.exists():  # also one from before the first step
            stop_file.unlink()
            told = True
        accelerator = self.trainer.accelerator
        if accelerator.num_processes > 1:
            told = int(accelerator.gather(torch.tensor([int(told)], device=accelerator.device)).max())
        if told and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
            if args.should_save:
                Path(args.output_dir).mkdir(parents=True, exist_ok=True)
                facts = {"step": state.global_step, "of": state.max_steps, "time": time.time()}
                (Path(args.output_dir) / INTERRUPTED).write_text(json.dumps(facts))
        return control

    def on_train_end(self, args, state, control, **kwargs):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def checkpoint_folder(output_dir: str | Path, step: int) -> Path:
    """Where transformers writes the checkpoint of a step."""
    return Path(output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


class CheckpointMixin:
    """What `EndoGRPOTrainer` adds to the checkpoints of transformers, to be inherited before TRL's trainer."""

    def _save_checkpoint(self, model, trial):
        output_dir = self._get_output_dir(trial=trial)
        if not self.agree(not self.args.should_save or self._has_space(output_dir)):
            return
        folder = checkpoint_folder(output_dir, self.state.global_step)
        if self.args.should_save:
            (folder / COMPLETE).unlink(missing_ok=True)  # of an earlier run through the same step
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # delete old ones only after this one
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        # A rollout serves several updates: a checkpoint in the middle of them keeps it.
        rollout = {"step": self._step, "buffered_inputs": self._buffered_inputs}
        if self.mix is not None:
            rollout["shaping"] = self.mix.state_dict()
        torch.save(rollout, folder / f"rollout_{self.accelerator.process_index}.pt")
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(folder, step=self.state.global_step, processes=self.accelerator.num_processes)
            best = self.state.best_model_checkpoint
            rotate_checkpoints(output_dir, save_total_limit=limit, best_model_checkpoint=best, use_mtime=True)

    def _has_space(self, output_dir: str) -> bool:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        return enough_space(output_dir, checkpoint_bytes(self.accelerator.unwrap_model(self.model)))

    def agree(self, fine: bool) -> bool:
        """Whether it is fine with every process."""
        return int(self._sum_over_processes(torch.tensor(int(not fine), device=self.accelerator.device))) == 0

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / f"rollout_{self.accelerator.process_index}.pt"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: resume with as many processes as wrote the checkpoint.")
        rollout = torch.load(path, map_location="cpu", weights_only=True)
        self._step = rollout["step"]
        if self.mix is not None:
            self.mix.load_state_dict(rollout.get("shaping", {}))
        self._buffered_inputs = send_to_device(rollout["buffered_inputs"], self.accelerator.device)
