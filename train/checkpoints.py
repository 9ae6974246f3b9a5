"""Checkpoints that can be trusted: complete or not there, written on a signal, and never lost to a full disk."""

import json
import logging
import re
import shutil
import signal
import time
from pathlib import Path

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

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
