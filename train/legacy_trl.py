"""The last TRL with a PPOTrainer of its own: an environment for it beside the installed TRL, and a clock in it."""

import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

from transformers import TrainerCallback

from train.benchmarking import synchronize

VERSION = "1.12.0"
FOLDER = Path("outputs/trl112")
INSTALL = f"pip install --no-deps --target {FOLDER} trl=={VERSION}"


def legacy_environment(folder: Path = FOLDER) -> dict[str, str]:
    """Environment variables under which Python imports TRL 1.12 from `folder`, all else as here. Made by pip if it is
    not there.

    Raises:
        subprocess.CalledProcessError: pip failed.
    """
    if not (folder / f"trl-{VERSION}.dist-info").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, f"trl=={VERSION}"], check=True)
    places = [str(folder.resolve()), str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "TRL_EXPERIMENTAL_SILENCE": "1"}


class PPOClock(TrainerCallback):
    """Seconds by phase and forwards by network of TRL 1.12's PPOTrainer, from the end of the warm-up on.

    The trainer's rollout and updates call functions of its module, which are timed here; the network they are called
    with tells the phase. The update lasts from its first forward to the end of the step.

    Args:
        module: `trl.experimental.ppo.ppo_trainer`; its functions are replaced for good.
        warm_up: rollouts that do not count.
        policy, critic, reference: the networks; the critic is the backbone of the value model.
        reward: the reward model.
        network: the network inside the reward model; it may be the reference.
    """

    def __init__(self, module, warm_up: int, policy, critic, reference, reward, network):
        self.warm_up, self.phase = warm_up, ""
        phases = {
            "batch_generation": lambda model: "generation",
            "get_reward": lambda model: "reward" if model is reward else "critic",
            "forward": lambda model: "reference" if model is reference else "update",
        }
        for name, phase in phases.items():
            setattr(module, name, self._timed(getattr(module, name), phase))
        # the trainer collects garbage twice a rollout, which takes the longer the more has been imported
        module.gc = SimpleNamespace(collect=self._timed(module.gc.collect, lambda: "garbage collection"))
        for name, net in {"reward": network, "policy": policy, "value": critic, "reference": reference}.items():
            if name != "reward" or net is not reference:
                net.register_forward_hook(self._counter(name), with_kwargs=True)

    def summary(self) -> dict:
        """Means over the timed rollouts of the seconds by phase, and of the forwards and sequences through each
        network without those of generation; beside them the seconds of each rollout."""
        whole, n = sum(self.rollouts), len(self.rollouts)
        seconds = dict(self._counted)
        for name in ("reference", "reward"):
            seconds[f"frozen forwards: {name}"] = seconds.pop(name)
        seconds["frozen forwards"] = seconds["frozen forwards: reference"] + seconds["frozen forwards: reward"]
        parts = ("generation", "frozen forwards", "critic", "update", "garbage collection")
        seconds |= {"rest": whole - sum(seconds[part] for part in parts), "whole": whole}
        return {
            "seconds": {name: round(s / n, 5) for name, s in seconds.items()},
            "rollout_seconds": [round(s, 5) for s in self.rollouts],
            "forwards": {name: calls / n for name, calls in self.calls.items()},
            "sequences": {name: rows / n for name, rows in self.sequences.items()},
        }

    def on_train_begin(self, args, state, control, **kwargs):
        self._reset()

    def on_step_end(self, args, state, control, **kwargs):
        now = _now()
        if state.global_step <= self.warm_up:
            return self._reset()
        self.seconds["update"] += now - self._update
        self.rollouts.append(now - self._last)
        self._update, self._last = None, now
        self._counted = dict(self.seconds)  # what comes after the last step is nobody's

    def _reset(self) -> None:
        self.seconds, self.rollouts = defaultdict(float), []
        self.calls, self.sequences = Counter(), Counter()
        self._update, self._last = None, _now()

    def _timed(self, function, phase):
        def run(*args, **kwargs):
            self.phase, start = phase(*args[:1]), _now()
            result = function(*args, **kwargs)
            if self.phase != "update":
                self.seconds[self.phase] += _now() - start
            elif self._update is None:
                self._update = start
            self.phase = ""
            return result

        return run

    def _counter(self, name: str):
        def count(network, args, kwargs, output):
            if self.phase != "generation":
                key = "reward" if self.phase == "reward" else name  # the reference may be the reward's network too
                self.calls[key] += 1
                self.sequences[key] += len(args[0] if args else kwargs["input_ids"])

        return count


def _now() -> float:
    synchronize()
    return time.perf_counter()
