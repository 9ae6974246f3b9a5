"""Shaping: what happens to a reward between the function that gives it and the weighted sum that is learned from.

Rewards are fp32 tensors of all responses of a rollout, of every process, groups of one prompt side by side: (N,) for
one number a response, or (N, T) for one a token, T counting a response's tokens from its start. NaN says "does not
apply" (and fills the places of tokens that are not the policy's, and those after a response): it enters no statistic
and stays NaN. Statistics are taken in fp64, so they do not depend on how the rollout was split over processes.

Token rewards are scaled, never shifted: a constant for every token would pay for length, or charge for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

NORMALISE = ("none", "group", "batch", "running")
ANNEALS = ("linear", "cosine")


def group_moments(totals: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Mean and population std of each consecutive group, repeated for its members: two (N,) fp64, NaN left out.

    Args:
        totals: (N,) one number a response; N is a multiple of `group_size`.
    """
    groups = totals.double().view(-1, group_size)
    mean = groups.nanmean(dim=1, keepdim=True)
    std = (groups - mean).square().nanmean(dim=1, keepdim=True).sqrt()
    return mean.expand_as(groups).reshape(-1), std.expand_as(groups).reshape(-1)


def standardise(rewards: Tensor, mean: Tensor, std: Tensor, scale: Tensor) -> Tensor:
    """(r - mean) / std for one number a response (N,), r / std for one a token (N, T); 0 where there is no spread.

    Args:
        mean, std: scalars or (N,), of the responses' totals.
        scale: scalar or (N,), the size of the rewards as they were given. A std up to a millionth of it is what fp32
            leaves of a spread of 0.
    """
    flat = std <= 1e-6 * scale
    if rewards.ndim == 2:
        centred, std, flat = rewards.double(), std[..., None], flat[..., None]
    else:
        centred = rewards.double() - mean
    scaled = torch.where(flat & ~rewards.isnan(), 0.0, centred / std)
    return scaled.to(rewards.dtype)


class RunningMoments:
    """Count, mean and variance of everything seen so far (Chan, Golub and LeVeque, 1979): a state of three floats."""

    def __init__(self):
        self.count, self.mean, self.m2 = 0, 0.0, 0.0

    def update(self, totals: Tensor) -> None:
        """Take in (N,) numbers; NaN is left out."""
        seen = totals[~totals.isnan()].double()
        if not len(seen):
            return
        mean = seen.mean()
        n, m2, shift = len(seen), float((seen - mean).square().sum()), float(mean) - self.mean
        total = self.count + n
        self.mean += shift * n / total
        self.m2 += m2 + shift**2 * self.count * n / total
        self.count = total

    @property
    def variance(self) -> float:
        """Population variance, 0 before anything was seen."""
        return self.m2 / max(self.count, 1)

    def state_dict(self) -> dict:
        """Plain numbers, which any checkpoint can hold."""
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        self.count, self.mean, self.m2 = state["count"], state["mean"], state["m2"]


def response_totals(rewards: Tensor) -> Tensor:
    """(N,) what each response gets in all: the sum of its tokens, NaN where no token has a reward."""
    if rewards.ndim == 1:
        return rewards
    return torch.where(rewards.isnan().all(dim=1), torch.nan, rewards.nansum(dim=1))


def gated(rewards: Tensor, condition: Tensor) -> Tensor:
    """The rewards (N,) or (N, T) where `condition` (N,) is above 0; elsewhere, also where it is NaN, NaN."""
    is_open = condition > 0
    return torch.where(is_open if rewards.ndim == 1 else is_open[:, None], rewards, torch.nan)


def length_residual(rewards: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    """What a least-squares line in the length does not explain of the responses' totals, and that line's slope.

    Of token rewards each token loses the slope and the last one the intercept, so that they add up to the residual.

    Args:
        rewards: (N,) or (N, T).
        lengths: (N,) tokens of each response that are the policy's own.

    Returns:
        residuals, as `rewards`; they have mean 0 over the rollout. The slope in units of the reward a token; 0 if all
        lengths are equal.
    """
    totals, x = response_totals(rewards).double(), lengths.double()
    applies = ~totals.isnan()
    if not applies.any():
        return rewards, 0.0
    dx = x - x[applies].mean()
    mean, spread = totals[applies].mean(), dx[applies].square().sum()
    slope = (dx * (totals - mean))[applies].sum() / spread if spread > 0 else spread
    intercept = mean - slope * x[applies].mean()
    if rewards.ndim == 1:
        return (totals - slope * x - intercept).to(rewards.dtype), float(slope)
    residual = rewards.double() - slope
    places = torch.arange(rewards.shape[1], device=rewards.device)
    last = torch.where(rewards.isnan(), 0, places).amax(dim=1)  # of the tokens that have a reward
    residual[torch.arange(len(rewards), device=rewards.device), last] -= intercept
    return residual.to(rewards.dtype), float(slope)


def annealed(step: int, start: float, end: float, first: int, last: int, form: str = "linear") -> float:
    """A factor that goes from `start` at step `first` to `end` at step `last`, and stays there; linear or half a
    cosine."""
    share = min(max((step - first) / (last - first), 0.0), 1.0)
    if form == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return start + (end - start) * share


class Shaping:
    """How one reward enters a mix: gate, then length control, then normalisation, then clip; then its weight.

    Args:
        weight: factor of the shaped reward; 0 only logs it.
        normalise: "none"; "group" or "batch", by mean and std of the responses' totals in each group or in the whole
            rollout; "running", by those of all rollouts so far, this one included. Std is the population's; where it
            is 0 the reward becomes 0. Token rewards are divided by the std and keep their mean.
        clip: the shaped reward is cut to [-clip, clip], token rewards token by token; None for no clip.
        gate: name of another reward; this one applies only to responses where that one is above 0. What is gated out
            adds nothing to the sum: where the reward can be negative, that makes failing the gate a way to avoid it.
        anneal: [start, end, last] or [start, end, first, last], then perhaps "cosine" for "linear": a factor of the
            weight that goes from start to end over these steps of training; see `annealed`.
        length_control: replace the reward by `length_residual`.

    Raises:
        ValueError: a setting that makes no sense, naming what would.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        normalise: str = "none",
        clip: float | None = None,
        gate: str | None = None,
        anneal: Sequence | None = None,
        length_control: bool = False,
    ):
        if normalise not in NORMALISE:
            raise ValueError(f"normalise must be one of {NORMALISE}, got {normalise!r}.")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive, or left out, got {clip}.")
        self.weight, self.normalise, self.clip, self.gate = float(weight), normalise, clip, gate
        self.anneal, self.length_control = self._read_anneal(anneal), bool(length_control)
        self.running = RunningMoments()
        self.slope: float | None = None  # of the last call, with length_control

    @staticmethod
    def _read_anneal(anneal: Sequence | None) -> tuple | None:
        if anneal is None:
            return None
        numbers = list(anneal)
        form = numbers.pop() if numbers and isinstance(numbers[-1], str) else "linear"
        if len(numbers) == 3:
            numbers.insert(2, 0)
        fine = len(numbers) == 4 and all(isinstance(x, (int, float)) for x in numbers)
        if not fine or form not in ANNEALS or not 0 <= numbers[2] < numbers[3]:
            raise ValueError(
                "anneal must be [start, end, last_step] or [start, end, first_step, last_step] with first < last, "
                f"then perhaps one of {ANNEALS}; got {anneal!r}."
            )
        return (*numbers, form)

    @property
    def reshapes(self) -> bool:
        """Whether anything but the weight changes the reward."""
        return self.normalise != "none" or self.clip is not None or self.gate is not None or self.length_control

    def weight_at(self, step: int) -> float:
        """The weight at a step of training."""
        return self.weight * (annealed(step, *self.anneal) if self.anneal else 1.0)

    def __call__(
        self, rewards: Tensor, lengths: Tensor, group_size: int, gate: Tensor | None = None, training: bool = True
    ) -> Tensor:
        """The shaped reward, without its weight, in the shape of `rewards`.

        Args:
            rewards: (N,) or (N, T) as in the module's description.
            lengths: (N,) tokens of each response.
            group_size: responses a prompt.
            gate: (N,) the reward that `gate` names, if it names one.
            training: whether running statistics learn from this rollout; if not, they are used as they are.
        """
        if gate is not None:
            rewards = gated(rewards, gate)
        size = group_size if self.normalise == "group" else len(rewards)
        scale = torch.hypot(*group_moments(response_totals(rewards), size))
        if self.length_control:
            rewards, self.slope = length_residual(rewards, lengths)
        if self.normalise != "none":
            rewards = standardise(rewards, *self._moments(response_totals(rewards), size, training), scale)
        return rewards if self.clip is None else rewards.clamp(-self.clip, self.clip)

    def _moments(self, totals: Tensor, size: int, training: bool) -> tuple[Tensor, Tensor]:
        if self.normalise != "running":
            return group_moments(totals, size)
        if training:
            self.running.update(totals)
        state = totals.new_tensor([self.running.mean, self.running.variance], dtype=torch.float64)
        return state[0], state[1].sqrt()

    def state_dict(self) -> dict:
        """The running statistics, for a checkpoint."""
        return self.running.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave."""
        self.running.load_state_dict(state)
