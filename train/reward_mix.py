"""A mix of rewards, each with its weight and shaping: a rollout's rewards on their way to what is learned from."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from trl.trainer.utils import get_callable_name

from rewards import Shaping
from rewards.shaping import response_totals


def close(name: str, known: list[str]) -> list[str]:
    """The known names most like `name`."""
    return difflib.get_close_matches(name, known, n=3, cutoff=0.6)


def hint(name: str, known: list[str]) -> str:
    """The name with its neighbours: `kl_coeff (did you mean kl_coef?)`."""
    return f"{name} (did you mean {', '.join(near)}?)" if (near := close(name, known)) else name


@dataclass
class ShapedReward:
    """A reward function for this project's trainers, and how it enters the mix.

    Attributes:
        func: any reward function that the trainers take.
        shaping: its weight and shaping.
        name: what it is called in logs and gates; default its own name.
    """

    func: Callable
    shaping: Shaping = field(default_factory=Shaping)
    name: str = ""

    def __post_init__(self):
        self.name = self.name or get_callable_name(self.func)


class RewardMix:
    """Shapes all rewards of a rollout.

    Args:
        rewards: `ShapedReward`s; plain reward functions among them enter as they are, with weight 1.
        reward_weights: the weights of the trainer's config, which must be unset.
        group_size: responses a prompt.

    Raises:
        ValueError: weights given twice, a name given twice, a gate that is no reward's name, or groups of one.
    """

    def __init__(self, rewards: list, reward_weights: list[float] | None, group_size: int):
        rewards = [r if isinstance(r, ShapedReward) else ShapedReward(r) for r in rewards]
        self.functions = [r.func for r in rewards]
        self.shapings = [r.shaping for r in rewards]
        self.names = [r.name for r in rewards]
        if reward_weights is not None:
            raise ValueError("Rewards with shaping have their weights in it: leave reward_weights out.")
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"Two rewards are called {name}: give one of them another name, e.g. as: {name}_2.")
        for name, shaping in zip(self.names, self.shapings):
            if shaping.gate is not None and shaping.gate not in self.names:
                raise ValueError(f"The gate of {name} is no reward of this mix: {hint(shaping.gate, self.names)}.")
            if shaping.normalise == "group" and group_size < 2:
                raise ValueError(
                    f"normalise: group compares responses to one prompt, but {name} sees one a prompt: raise "
                    "num_generations, or normalise by batch or running."
                )

    def weights(self, step: int) -> Tensor:
        """Each reward's weight at a step of training, (functions,) fp32."""
        return torch.tensor([s.weight_at(step) for s in self.shapings])

    def __call__(
        self, rewards: Tensor, tokens: dict[int, Tensor], lengths: Tensor, group_size: int, training: bool
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Shape the rewards of all processes; every process does the same to the same numbers.

        Args:
            rewards: (N, functions), NaN where one does not apply.
            tokens: for rewards that are learned from token by token, by their index: (N, T), NaN on all but the
                policy's own tokens.
            lengths: (N,) tokens of each response that are the policy's own.
            group_size: responses a prompt.
            training: whether running statistics learn from this rollout.

        Returns:
            what each response gets of each reward, (N, functions), and the shaped tokens, both without weights.
        """
        shaped = []
        for i, shaping in enumerate(self.shapings):
            column = rewards[:, i]
            if i in tokens:
                column = tokens[i].masked_fill(column.isnan()[:, None], torch.nan)
            gate = None if shaping.gate is None else rewards[:, self.names.index(shaping.gate)]
            shaped.append(shaping(column, lengths, group_size, gate, training))
        return torch.stack([response_totals(x) for x in shaped], dim=1), {i: shaped[i] for i in tokens}

    def state_dict(self) -> dict:
        """The running statistics by name, for a checkpoint."""
        return {n: s.state_dict() for n, s in zip(self.names, self.shapings) if s.normalise == "running"}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            ValueError: running statistics that the checkpoint does not have.
        """
        for name, shaping in zip(self.names, self.shapings):
            if shaping.normalise == "running" and name not in state:
                raise ValueError(
                    f"The checkpoint has no running statistics of {name}: resume with the recipe that wrote it, or "
                    "start from its weights with --model_name_or_path."
                )
            if name in state:
                shaping.load_state_dict(state[name])
