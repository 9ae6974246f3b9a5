"""A mix of rewards: the entries of a recipe, each with its settings and shaping, and the rollout's rewards shaped by
them."""

import difflib
import inspect
import json
import re
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from trl.trainer.utils import get_callable_name

from rewards import JudgeReward, Shaping, StepReward, get_reward
from rewards.judges.judge_reward import ENDPOINT_SETTINGS
from rewards.shaping import response_totals

SHAPING = tuple(inspect.signature(Shaping).parameters)
OF_ENTRY = ("name", "as", *SHAPING, "steps", "step_reduce")
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
NO_SETTINGS = {"self", "base", "tokenizer", "name_or_path", "prompts", "completions", "completion_ids"}


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

    func: object
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


# ---------------------------------------------------------------------- recipes


def rewards_of_recipe(entries: list | str) -> list[ShapedReward]:
    """The rewards of a recipe's `rewards`, one an entry: `{name: endorm, as: early, discount: 0.95, weight: 1.0}`.

    An entry has a `name` (a registered one or a dotted path); `as`, what logs and gates call it, by default the name
    (a path's last part), with _steps for a reward per step; what `Shaping` takes; `steps: line` or `steps: step` with
    `step_reduce: sum|mean|min` for rewards per step; `model`, which a judge is loaded from; with `endpoint` instead
    the server's name for it, and what `EndpointJudge` takes; and settings of the reward itself. A gate that is no
    entry is added as a reward of weight 0.

    Args:
        entries: a list of dicts (a str among them is a name), or that as JSON.

    Raises:
        ValueError: JSON or an entry that cannot be understood, keys that do not exist (their neighbours named), a
            judge without a model.
    """
    if isinstance(entries, str):
        try:
            entries = json.loads(entries)
        except json.JSONDecodeError as error:
            raise ValueError(f'rewards is not JSON ({error}); write e.g. \'[{{"name": "endorm"}}]\'.') from error
    entries = [{"name": e} if isinstance(e, str) else e for e in (entries if isinstance(entries, list) else [entries])]
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f"An entry of rewards needs a name, e.g. {{name: endorm, weight: 1.0}}; got {entry!r}.")
    if not entries:
        raise ValueError("rewards is empty: name one at least, e.g. [{name: endorm}].")
    rewards = [_read(dict(entry)) for entry in entries]
    names = [r.name for r in rewards]
    gates = dict.fromkeys(r.shaping.gate for r in rewards if r.shaping.gate not in (None, *names))
    try:
        return rewards + [_read({"name": gate, "as": gate, "weight": 0.0}) for gate in gates]
    except ValueError as error:
        raise ValueError(f"A gate is the name of an entry ({', '.join(names)}) or of a reward. {error}") from error


def add_watched(rewards: list, metric: str | None, weights: list[float] | None) -> tuple[list, list[float] | None]:
    """Rewards and their weights with, at weight 0, the reward that a metric `rewards/NAME/mean` is of, if it is none
    of them: so a held-out measure need not be a reward of the recipe.

    Args:
        rewards: reward functions, or `ShapedReward`s, which have their weights in them.
        metric: as `metric_for_best_model` names it, with or without `eval_`.
        weights: `reward_weights` of the recipe, None for all 1.
    """
    match = re.fullmatch(r"(?:eval_)?rewards/(.+)/mean", metric or "")
    names = [r.name if isinstance(r, ShapedReward) else get_callable_name(r) for r in rewards]
    if match is None or match[1] in names:
        return rewards, weights
    watched = rewards_of_recipe([{"name": match[1], "as": match[1], "weight": 0.0}])
    if any(isinstance(r, ShapedReward) for r in rewards):
        return rewards + watched, weights
    return [*rewards, watched[0].func], [*(weights or [1.0] * len(rewards)), 0.0]


def _read(entry: dict) -> ShapedReward:
    own = {key: entry.pop(key) for key in OF_ENTRY if key in entry}
    func = _make(own["name"], entry)
    if "steps" in own:
        func = StepReward(func, own["steps"], own.get("step_reduce", "sum"))
    elif "step_reduce" in own:
        raise ValueError(f"{own['name']} has step_reduce but no steps: add steps: line (or step).")
    try:
        shaping = Shaping(**{key: own[key] for key in SHAPING if key in own})
    except ValueError as error:
        raise ValueError(f"Reward {own['name']}: {error}") from error
    name = own["name"].rpartition(".")[2] + ("_steps" if "steps" in own else "")
    return ShapedReward(func, shaping, own.get("as", name))


def _make(name: str, settings: dict):
    """A reward function of its name and settings; `model` among them is what a judge is loaded from."""
    reward = get_reward(name)
    model, from_pretrained = settings.pop("model", None), getattr(reward, "from_pretrained", None)
    if model is not None and from_pretrained is None:
        raise ValueError(f"The reward {name} has no model of its own: leave model out of its entry.")
    by_judge = inspect.isclass(reward) and issubclass(reward, JudgeReward)
    if by_judge and model is None and "endpoint" in settings:
        raise ValueError(f"The reward {name} has an endpoint and no model: add the name that the server has for it.")
    known = _settings(reward) | (_settings(from_pretrained) if model is not None else set())
    known |= ENDPOINT_SETTINGS if by_judge else set()
    # a function takes any keyword, for the data's columns; a class that does checks its settings itself
    takes_any = inspect.isclass(reward) and any(p.kind is p.VAR_KEYWORD for p in _signature(reward))
    if unknown := [key for key in settings if key not in known and not takes_any]:
        every = [*OF_ENTRY, "model", *sorted(known)]
        raise ValueError(f"The reward {name} has no {'; '.join(hint(key, every) for key in unknown)}.")
    if model is not None:
        return from_pretrained(model, **settings)
    if not inspect.isclass(reward):
        return partial(reward, **settings) if settings else reward
    needed = [
        p.name for p in _signature(reward) if p.kind in NAMED and p.default is p.empty and p.name not in settings
    ]
    if needed:
        missing = "a model" if from_pretrained is not None else ", ".join(needed)
        raise ValueError(f"The reward {name} cannot be made without {missing}: add that to its entry.")
    return reward(**settings)


def _signature(function) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _settings(function) -> set[str]:
    return {p.name for p in _signature(function) if p.kind in NAMED} - NO_SETTINGS
