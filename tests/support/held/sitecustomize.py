"""Holds a training at a chosen point, so that a signal finds it there: Python imports this before anything else.

HELD_AT: "start" (before the imports), "step N" (in step N, before its update) or "save N" (the checkpoint of step N,
when its weights are written and its last file is not). There the main process of the training writes `reached` in the
folder HELD, and waits until `go` is there. A folder holds once.
"""

import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path

WHEN, _, STEP = os.environ.get("HELD_AT", "").partition(" ")
FOLDER = Path(os.environ.get("HELD", "."))
IS_TRAINING = any(word.endswith("_endorm.py") for word in sys.orig_argv) and not any(
    word.endswith("accelerate") for word in sys.orig_argv
)


def hold() -> None:
    if (FOLDER / "reached").exists() or os.environ.get("SLURM_PROCID", "0") != "0":
        return
    (FOLDER / "reached").write_text(str(os.getpid()))
    while not (FOLDER / "go").exists():
        time.sleep(0.1)


def change(module) -> None:
    """`train.checkpoints` after its import."""
    if WHEN == "step":
        stop = module.StopOnRequest

        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step + 1 == int(STEP):
                hold()

        stop.on_step_begin = on_step_begin
    else:
        mark_complete = module.mark_complete

        def held(folder, **facts):
            if facts.get("step") == int(STEP):
                hold()
            mark_complete(folder, **facts)

        module.mark_complete = held


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "train.checkpoints":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


if IS_TRAINING and WHEN == "start":
    hold()
elif IS_TRAINING and WHEN:
    sys.meta_path.insert(0, Finder())
