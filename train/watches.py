"""Watches: signs in the metrics that a policy is being spoilt, while it is trained. On by default.

Each watch compares what was logged last with how the run began or with its best, so a resumed run goes on as it was.
The thresholds are those that catch two provoked collapses of a small task in time (scripts/experiments/collapse) and
no sound run, neither there nor of a chat model (scripts/experiments/self_improvement, settings). A chat model that
learns to stop has shorter responses on average without shorter answers: only the length of responses that end is a
sign. The share of those that end swings by 0.23 in a rollout of 64 responses to 8 prompts, without anything amiss.
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import TrainerCallback

logger = logging.getLogger(__name__)
START = 3  # logged rollouts whose mean is how a run began


@dataclass
class WatchArguments:
    """What is watched in training, and what happens when a watch trips."""

    watch: str = field(
        default="warn",
        metadata={
            "help": "When a watch trips: warn; stop (save and end the run; with load_best_model_at_end the best "
            "checkpoint is what is kept); or off.",
            "choices": ["warn", "stop", "off"],
        },
    )
    watch_length: list[float] = field(
        default_factory=lambda: [0.7, 1.5],
        metadata={
            "help": "Least mean length of the responses that end, and greatest of all, as shares of those at the "
            "start. Short ones are no sign while held-out accuracy is at its best."
        },
    )
    watch_repetition: float = field(
        default=0.15, metadata={"help": "Most by which completions/repetition_rate may rise over the start."}
    )
    watch_entropy: float = field(
        default=0.03, metadata={"help": "Least entropy a token, as a share of that at the start."}
    )
    watch_eos: float = field(
        default=0.3, metadata={"help": "Most by which the share of responses that end may fall below the start."}
    )
    watch_drop: float = field(
        default=0.05,
        metadata={"help": "Most by which held-out accuracy may fall below its best (or 3 standard errors, if more)."},
    )
    watch_divergence: float = field(
        default=0.02,
        metadata={
            "help": "The same at two evaluations in a row while the reward is no lower than at the best (or 2 "
            "standard errors, if more)."
        },
    )

    def __post_init__(self):
        if self.watch not in ("warn", "stop", "off"):
            raise ValueError(f"watch is {self.watch!r}; set it to warn, stop or off.")
        if len(self.watch_length) != 2 or not 0 <= self.watch_length[0] < 1 < self.watch_length[1]:
            raise ValueError(f"watch_length is {self.watch_length}; give two shares around 1, e.g. [0.7, 1.5].")


def rollout_signs(
    rows: list[dict], limits: WatchArguments, accuracy: Sequence[float] = (), n: int = 0
) -> dict[str, str]:
    """The watches that the last of the training rows (logged metrics) trips, and what each says. Short responses are
    no sign while held-out accuracy is at its best.

    Args:
        accuracy: held-out, of the evaluations so far, of `n` responses each.
    """
    if len(rows) <= START:
        return {}

    def compare(metric: str) -> tuple[float, float] | None:
        begun = [row[metric] for row in rows[:START] if metric in row]
        return (rows[-1][metric], sum(begun) / len(begun)) if begun and metric in rows[-1] else None

    signs = signs_of_rollouts(compare, limits)
    shorter = "length" in signs and rows[-1]["completions/mean_length"] < rows[0]["completions/mean_length"]
    if shorter and at_its_best(accuracy, n):
        del signs["length"]
    return signs


def signs_of_rollouts(compare: Callable[[str], tuple[float, float] | None], limits: WatchArguments) -> dict[str, str]:
    """The watches on length, repetition, entropy and end token that trip, and what each says.

    Args:
        compare: to a metric's name its value now and at the start of the run; None where it is not known.
    """
    signs: dict[str, str] = {}
    low, high = limits.watch_length
    every = compare("completions/mean_length")
    ended = compare("completions/mean_terminated_length") or every
    if every and every[0] > high * every[1]:
        signs["length"] = f"responses have {every[0]:.1f} tokens, {every[1]:.1f} at the start"
    elif ended and 0 < ended[0] < low * ended[1]:  # 0 where none ended
        which = "responses" if ended is every else "responses that end"
        signs["length"] = f"{which} have {ended[0]:.1f} tokens, {ended[1]:.1f} at the start"
    if (pair := compare("completions/repetition_rate")) and pair[0] > pair[1] + limits.watch_repetition:
        signs["repetition"] = f"{pair[0]:.2f} of the 4-grams repeat, {pair[1]:.2f} at the start"
    if (pair := compare("entropy")) and pair[0] < limits.watch_entropy * pair[1]:
        signs["entropy"] = f"the entropy is {pair[0]:.4f} nats a token, {pair[1]:.3f} at the start"
    if (pair := compare("completions/eos_rate")) and pair[0] < pair[1] - limits.watch_eos:
        signs["end_token"] = f"{pair[0]:.2f} of the responses end, {pair[1]:.2f} at the start"
    return signs


def at_its_best(accuracy: Sequence[float], n: int) -> bool:
    """Whether the last of several held-out accuracies, of `n` responses each, is a standard error or less below the
    best."""
    if len(accuracy) < 2:
        return False
    top = min(max(0.0, *accuracy), 1.0)
    return accuracy[-1] >= top - math.sqrt(2 * top * (1 - top) / n)


def heldout_signs(
    evaluations: list[dict], rows: list[dict], metric: str, n: int, limits: WatchArguments
) -> dict[str, str]:
    """The watches that the last evaluation trips, and what each says.

    Args:
        evaluations: logged evaluations, each with "step" and `metric`, an accuracy.
        rows: the training rows, of which "reward" is read.
        n: held-out responses of an evaluation.
    """
    if len(evaluations) < 2:
        return {}
    accuracy = [row[metric] for row in evaluations]
    best = max(range(len(accuracy)), key=accuracy.__getitem__)
    top = min(max(accuracy[best], 0.0), 1.0)
    error = math.sqrt(2 * top * (1 - top) / n)  # of the difference of two such accuracies
    step, signs = evaluations[best]["step"], {}
    said = f"held-out accuracy is {accuracy[-1]:.3f}, at its best (step {step}) {top:.3f}"
    if accuracy[-1] < top - max(limits.watch_drop, 3 * error):
        signs["held_out"] = said
    margin = top - max(limits.watch_divergence, 2 * error)
    rewards = {row["step"]: row["reward"] for row in rows}
    until = [reward for s, reward in rewards.items() if s <= step]
    if best < len(accuracy) - 2 and max(accuracy[-2:]) < margin and until and rewards:
        now, then = list(rewards.values())[-1], until[-1]
        if now >= then:
            signs["divergence"] = f"the reward rose from {then:.3f} to {now:.3f} while {said}"
    return signs


class Watches(TrainerCallback):
    """Warns once each time that a watch trips, writes it to watches.jsonl in the run's folder and, if it was asked to,
    stops the run there.

    Args:
        trainer: whose metrics are watched; its `metric_for_best_model` is the held-out accuracy.
        limits: the thresholds.

    Raises:
        ValueError: held-out prompts that are never evaluated, or no metric to watch on them.
    """

    def __init__(self, trainer, limits: WatchArguments):
        args = trainer.args
        if trainer.eval_dataset is not None and (args.eval_strategy == "no" or args.metric_for_best_model is None):
            raise ValueError(
                "There are held-out prompts, but nothing is done with them: set eval_strategy: steps, eval_steps and "
                "metric_for_best_model (e.g. rewards/accuracy/mean, of a reward in the recipe)."
            )
        self.trainer, self.limits = trainer, limits
        self._tripped: set[str] = set()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.limits.watch == "off" or not state.log_history:
            return
        rows = [row for row in state.log_history if "reward" in row]
        signs = {}
        metric = f"eval_{(args.metric_for_best_model or '').removeprefix('eval_')}"
        evaluations = [row for row in state.log_history if args.metric_for_best_model and metric in row]
        n = len(self.trainer.eval_dataset) * self.trainer.num_generations_eval if evaluations else 0
        if evaluations and evaluations[-1] is state.log_history[-1]:
            signs = heldout_signs(evaluations, rows, metric, n, self.limits)
            self._tripped &= {*signs, "length", "repetition", "entropy", "end_token"}
        elif rows and state.log_history[-1] is rows[-1]:
            signs = rollout_signs(rows, self.limits, [row[metric] for row in evaluations], n)
            self._tripped &= {*signs, "held_out", "divergence"}
        new = {name: said for name, said in signs.items() if name not in self._tripped}
        self._tripped |= set(new)
        if new and state.is_world_process_zero:
            self._tell(new, args, state)
        # the same numbers were logged everywhere, but a run that only one process ends would hang
        if self.limits.watch == "stop" and not self.trainer.agree(not new):
            control.should_training_stop = True

    def _tell(self, new: dict[str, str], args, state) -> None:
        action = "stopping" if self.limits.watch == "stop" else "the run goes on (watch: stop would end it)"
        for name, said in new.items():
            logger.warning("Step %d, watch %s: %s; %s.", state.global_step, name, said, action)
        Path(args.output_dir).mkdir(parents=True, exist_ok=True)
        with (Path(args.output_dir) / "watches.jsonl").open("a", encoding="utf-8") as file:
            for name, said in new.items():
                file.write(json.dumps({"step": state.global_step, "watch": name, "message": said}) + "\n")
