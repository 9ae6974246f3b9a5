"""Held-out evaluation inside a training: metrics of all its rows, and a training that it does not disturb."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from trl.trainer.utils import nanstd

from train.rollout import Rollout


@contextlib.contextmanager
def unchanged_random_state() -> Iterator[None]:
    """The random numbers drawn afterwards, by Python, NumPy and torch, are those that would have been drawn without
    what happens inside."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@dataclass
class HeldOut:
    """What an evaluation has seen so far, batch by batch.

    Attributes:
        expected: rows that the evaluation has, responses of one prompt counted one by one; None if unknown. The last
            batch of several processes is filled up with rows from the beginning: what goes beyond is left out.
        rows: of each batch, over all processes.
        raw, learned: (rows, F) rewards of each batch as the functions gave them and as they are learned from.
    """

    expected: int | None = None
    rows: list[int] = field(default_factory=list)
    raw: list[Tensor] = field(default_factory=list)
    learned: list[Tensor] = field(default_factory=list)

    def add(self, rollout: Rollout) -> None:
        """Take in a batch whose rewards are known."""
        n = len(rollout.raw_rewards)
        if self.expected is not None:
            n = max(0, min(n, self.expected - sum(self.rows)))
        self.rows.append(n)
        self.raw.append(rollout.raw_rewards[:n])
        self.learned.append(rollout.rewards[:n])

    def weigh(self, metrics: dict[str, list[float]], names: list[str], weights: Tensor) -> None:
        """Put in place of each metric's list of batch means (NaN where a batch has none) its one value over all rows.

        Means are weighted by rows. Means and standard deviations of rewards are those of all rows, least and greatest
        lengths those of all batches. A list of another length than the batches is not one a batch, and stays.

        Args:
            names: of the F reward functions.
            weights: (F,) theirs.
        """
        if not sum(self.rows):
            return
        for name, values in metrics.items():
            pairs = [(v, n) for v, n in zip(values, self.rows) if v is not None and v == v]
            if len(values) != len(self.rows) or not sum(n for _, n in pairs):
                continue
            if name.endswith(("min_length", "min_terminated_length", "/min")):
                metrics[name] = [min(v for v, _ in pairs)]
            elif name.endswith(("max_length", "max_terminated_length", "/max")):
                metrics[name] = [max(v for v, _ in pairs)]
            else:
                metrics[name] = [sum(v * n for v, n in pairs) / sum(n for _, n in pairs)]
        raw, learned = torch.cat(self.raw), torch.cat(self.learned)
        totals = (learned * weights.to(learned)).nansum(dim=1)
        totals[learned.isnan().all(dim=1)] = torch.nan
        table = torch.cat([raw, totals[:, None]], dim=1)
        moments = torch.stack([table.nanmean(dim=0), nanstd(table, dim=0)]).tolist()
        called = [(f"rewards/{name}/mean", f"rewards/{name}/std") for name in names] + [("reward", "reward_std")]
        for (mean_name, std_name), mean, std in zip(called, *moments, strict=True):
            metrics[mean_name], metrics[std_name] = [mean], [std]


class HeldOutMixin:
    """For a trainer of TRL: an evaluation that weighs its rows alike and leaves the training as it was.

    The trainer calls `self.heldout.add` for each rollout that is not trained on.
    """

    heldout: HeldOut | None = None

    def evaluate(self, eval_dataset=None, *args, **kwargs):
        """As in transformers; TRL only logs its metrics, here they are returned too, for `metric_for_best_model`."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = self.eval_dataset[dataset]
        rows = len(dataset) * self.num_generations_eval if hasattr(dataset, "__len__") else None
        self.heldout = None if isinstance(dataset, dict) else HeldOut(rows)  # of several, each has its own call
        with unchanged_random_state():
            metrics = super().evaluate(eval_dataset, *args, **kwargs)
        self.heldout = None
        logged = self.state.log_history[-1] if self.state.log_history else {}
        return {k: v for k, v in logged.items() if k.startswith("eval_")} | metrics

    def log(self, logs, start_time=None):
        """As in TRL, with the metrics of an evaluation weighed first."""
        if self.heldout is not None and not self.model.training:
            self.heldout.weigh(self._metrics["eval"], self.reward_func_names, self.reward_weights)
        super().log(logs, start_time)
