"""Held-out evaluation inside a training: metrics of all its rows, and a training that it does not disturb."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from trl import GRPOTrainer
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
        responses: of each batch (rows,) a fact: `length` in own tokens, and what is logged of responses by its name.
    """

    expected: int | None = None
    rows: list[int] = field(default_factory=list)
    raw: list[Tensor] = field(default_factory=list)
    learned: list[Tensor] = field(default_factory=list)
    responses: list[dict[str, Tensor]] = field(default_factory=list)

    def add(self, rollout: Rollout, responses: dict[str, Tensor]) -> None:
        """Take in a batch whose rewards are known, with facts of its responses, those of all processes."""
        n = len(rollout.raw_rewards)
        if self.expected is not None:
            n = max(0, min(n, self.expected - sum(self.rows)))
        self.rows.append(n)
        self.raw.append(rollout.raw_rewards[:n])
        self.learned.append(rollout.rewards[:n])
        self.responses.append({name: x[:n] for name, x in responses.items()})

    def weigh(self, metrics: dict[str, list[float]], names: list[str], weights: Tensor) -> None:
        """Put in place of each metric's list of batch means (NaN where a batch has none) its one value over all rows.

        Rewards and facts of responses are those of the rows; other means, such as KL and entropy, are weighted by the
        batches' rows. A list of another length than the batches is not one a batch, and stays.

        Args:
            names: of the F reward functions.
            weights: (F,) theirs.
        """
        if not sum(self.rows):
            return
        for name, values in metrics.items():
            pairs = [(v, n) for v, n in zip(values, self.rows) if v is not None and v == v]
            total = sum([n for _, n in pairs])
            if len(values) == len(self.rows) and total:
                metrics[name] = [sum([v * n for v, n in pairs]) / total]
        facts = {name: torch.cat([batch[name] for batch in self.responses]) for name in self.responses[0]}
        lengths, ended = facts.pop("length"), facts["eos_rate"] > 0
        for kind, x in (("length", lengths), ("terminated_length", lengths[ended])):
            for how, value in (("mean", x.mean()), ("min", x.min()), ("max", x.max())) if len(x) else ():
                metrics[f"completions/{how}_{kind}"] = [float(value)]
        metrics |= {f"completions/{name}": [float(x.mean())] for name, x in facts.items()}
        raw, learned = torch.cat(self.raw), torch.cat(self.learned)
        totals = (learned * weights.to(learned)).nansum(dim=1)
        totals[learned.isnan().all(dim=1)] = torch.nan
        table = torch.cat([raw, totals[:, None]], dim=1)
        moments = torch.stack([table.nanmean(dim=0), nanstd(table, dim=0)]).tolist()
        called = [(f"rewards/{name}/mean", f"rewards/{name}/std") for name in names] + [("reward", "reward_std")]
        for (mean_name, std_name), mean, std in zip(called, *moments, strict=True):
            metrics[mean_name], metrics[std_name] = [mean], [std]


class HeldOutMixin(GRPOTrainer):
    """A trainer of TRL whose evaluation weighs its rows alike and leaves the training as it was.

    The trainer calls `self.heldout.add` for each rollout that is not trained on.
    """

    model: torch.nn.Module
    heldout: HeldOut | None = None

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval"):
        """As in transformers; TRL only logs its metrics, here they are returned too, for `metric_for_best_model`. Of
        several datasets each has its own, such as `eval_NAME_reward`."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, dict):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)  # which calls this for each
        if isinstance(dataset, str) and isinstance(self.eval_dataset, dict):
            dataset = self.eval_dataset[dataset]
        responses = self.num_generations_eval or 1
        self.heldout = HeldOut(len(dataset) * responses if isinstance(dataset, Sized) else None)
        try:
            with unchanged_random_state():
                metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        finally:
            self.heldout = None
        logged = self.state.log_history[-1] if self.state.log_history else {}
        found = {k: v for k, v in logged.items() if k.startswith("eval_")} | metrics
        prefix = f"{metric_key_prefix}_"  # TRL names its own metrics eval_, whichever dataset they are of
        trls = [k for k in found if k.startswith("eval_") and not k.startswith(prefix)]
        return found | {prefix + k.removeprefix("eval_"): found.pop(k) for k in trls}

    def log(self, logs, start_time=None):
        """As in TRL, with the metrics of an evaluation weighed first."""
        if self.heldout is not None and not self.model.training:
            self.heldout.weigh(self._metrics["eval"], self.reward_func_names, self.reward_weights)
        super().log(logs, start_time)
