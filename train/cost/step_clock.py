"""What an RL step costs: seconds by phase, passes through each network, bytes of models, gradients and optimizers.

Imports nothing of TRL, so that it serves trainers of any version of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback

from train.cost.stopwatch import synchronize

GENERATION = "generation"  # the phase whose forwards are not counted


class StepClock(TrainerCallback):
    """Seconds by phase and passes through networks of the rollouts after those that warm up.

    A pass is one response's way through a network: a forward over half of a rollout's responses counts one half. The
    tokens that a network reads, padding included, are fewer where responses share what they begin with. The many small
    forwards of generation are not counted, they are in its seconds.

    Args:
        updates: optimizer steps (`on_step_end`) a rollout.
        warm_up: rollouts before the clock starts.
    """

    def __init__(self, updates: int, warm_up: int = 1):
        self.updates, self.warm_up = updates, warm_up
        self.seconds: dict[str, float] = defaultdict(float)  # of all timed rollouts together
        self.rows: dict[str, int] = defaultdict(int)  # through each network
        self.tokens: dict[str, int] = defaultdict(int)  # read by each
        self.rollouts: list[float] = []  # seconds of each timed rollout
        self._running: list[str] = []
        self._start = 0.0
        self._timed: tuple[dict[str, float], dict[str, int], dict[str, int]] = {}, {}, {}

    @staticmethod
    def now() -> float:
        """Seconds, after the device has done all it was given."""
        synchronize()
        return perf_counter()

    def time(self, owner, name: str, phase: str | Callable, during: str | None = None) -> None:
        """Count the calls of a method or function `owner.name` as `phase`, or as what `phase` makes of their
        arguments (None: not counted), or only those while the phase `during` runs."""
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            found = phase(*args) if callable(phase) else phase
            if found is None or (during is not None and during not in self._running):
                return function(*args, **kwargs)
            start = self.now()
            self._running.append(found)
            try:
                return function(*args, **kwargs)
            finally:
                self._running.pop()
                self.seconds[found] += self.now() - start

        setattr(owner, name, timed)

    def count(self, network: Any, name: str) -> None:
        """Count the rows that pass through `network`, a model of transformers or PEFT, and the tokens that it reads.
        With its adapter switched off it is another network, which serves as reference."""

        def named() -> str:
            off = any(getattr(m, "disable_adapters", False) is True for m in network.modules())
            return f"{name}, adapter off" if off else name

        def count_rows(module, args, kwargs):
            if GENERATION not in self._running:
                self.rows[named()] += len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])

        def count_tokens(module, args):
            if GENERATION not in self._running:
                self.tokens[named()] += args[0].numel()

        network.register_forward_pre_hook(count_rows, with_kwargs=True)
        network.get_input_embeddings().register_forward_pre_hook(count_tokens)

    def on_train_begin(self, args, state, control, **kwargs):
        self._start = self.now()  # of the first rollout, where none warms up

    def on_step_end(self, args, state, control, **kwargs):
        rollout, rest = divmod(state.global_step, self.updates)
        if rest:
            return
        now = self.now()
        if rollout == self.warm_up:
            self.seconds.clear()
            self.rows.clear()
            self.tokens.clear()
        elif rollout > self.warm_up:
            self.rollouts.append(now - self._start)
            # what comes after the last step is nobody's
            self._timed = dict(self.seconds), dict(self.rows), dict(self.tokens)
        self._start = now

    def results(self, responses: int) -> dict:
        """Per rollout of `responses` responses: the seconds of each phase, of the whole and of each rollout, samples a
        second, passes of each response through each network, and the tokens that each read for a response.

        Raises:
            ValueError: no rollout was timed.
        """
        if not (n := len(self.rollouts)):
            least = self.updates * (self.warm_up + 1)
            raise ValueError(f"No rollout was timed: train for at least {least} steps, or warm up with fewer.")
        timed, rows_through, tokens = self._timed
        seconds = {phase: round(s / n, 5) for phase, s in timed.items()} | {"whole": sum(self.rollouts) / n}
        return {
            "seconds": seconds,
            "rollout_seconds": [round(s, 5) for s in self.rollouts],
            "samples_per_second": round(responses / seconds["whole"], 2),
            "passes": {name: rows / n / responses for name, rows in rows_through.items()},
            "tokens_read": {name: round(read / n / responses, 1) for name, read in tokens.items()},
        }


def model_bytes(models: Iterable[nn.Module], optimizers: Iterable[Optimizer]) -> dict[str, int]:
    """Bytes of the weights of all models (shared ones once), of the gradients of what the optimizers train, and of
    the optimizers' state as it stands."""
    optimizers = list(optimizers)
    parameters = {id(p): p for model in models for p in model.parameters()}.values()
    trained = (p for o in optimizers for group in o.param_groups for p in group["params"])
    states = (x for o in optimizers for state in o.state.values() for x in state.values() if torch.is_tensor(x))
    sizes = {
        "weights": sum(p.nbytes for p in parameters),
        "gradients": sum(p.nbytes for p in trained),
        "optimizer": sum(x.nbytes for x in states),
    }
    return sizes | {"all": sum(sizes.values())}
