"""The last TRL with a PPOTrainer of its own: an environment for it beside the installed TRL, and a clock in it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from train.cost.step_clock import GENERATION, StepClock

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
    places = [str(folder.resolve()), str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "TRL_EXPERIMENTAL_SILENCE": "1"}


class PPOClock(StepClock):
    """The clock of a step inside TRL 1.12's PPOTrainer, whose rollout and update call functions of its module.

    Args:
        module: `trl.experimental.ppo.ppo_trainer`; its functions are replaced for good.
        warm_up: rollouts that do not count.
        reference, reward: the reference model and the reward model, which tell what a forward is for.
        networks: models whose passes are counted, by name.
    """

    def __init__(self, module, warm_up: int, reference, reward, networks: dict):
        super().__init__(updates=1, warm_up=warm_up)  # its trainer counts a rollout with all its updates as one step
        self._update: float | None = None
        self.time(module, "batch_generation", GENERATION)
        self.time(module, "get_reward", lambda model, *_: "reward model" if model is reward else "critic")
        self.time(module, "forward", lambda model, *_: "reference" if model is reference else self._first_forward())
        # it collects garbage twice a rollout, which takes the longer the more has been imported
        module.gc = SimpleNamespace(collect=module.gc.collect)
        self.time(module.gc, "collect", "garbage collection")
        for name, network in networks.items():
            self.count(network, name)

    def _first_forward(self) -> None:
        """An update lasts from its first forward to the end of the step."""
        self._update = self._update or self.now()

    def on_step_end(self, args, state, control, **kwargs):
        if self._update is not None:
            self.seconds["update"] += self.now() - self._update
        self._update = None
        super().on_step_end(args, state, control, **kwargs)
