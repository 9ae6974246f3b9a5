"""The rewards of a recipe: from the entries that a user writes to the functions that a trainer takes."""

import inspect
import json
import re
from dataclasses import dataclass, field
from functools import partial

from trl.trainer.utils import get_callable_name

from rewards import JudgeReward, Shaping, StepReward, get_reward
from rewards.judges.judge_reward import ENDPOINT_SETTINGS
from train.reward_mix import ShapedReward, hint

SHAPING = tuple(inspect.signature(Shaping).parameters)
OF_ENTRY = ("name", "as", *SHAPING, "steps", "step_reduce")
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
NO_SETTINGS = {"self", "base", "tokenizer", "name_or_path", "prompts", "completions", "completion_ids"}


@dataclass
class RewardArguments:
    """Which rewards a policy learns from, and which model is frozen to give them."""

    reward_funcs: list[str] = field(
        default_factory=lambda: ["endorm"],
        metadata={
            "help": "Rewards by registered name, dotted path or path/to/file.py:function, each with its default "
            "settings. reward_weights weighs them; weight 0 only logs one."
        },
    )
    rewards: list[dict] | str | None = field(
        default=None,
        metadata={
            "help": "Rewards with settings and shaping of their own, in place of reward_funcs and reward_weights: "
            "[{name: endorm, discount: 0.95}, {name: accuracy, weight: 0.5}]; JSON on the command line."
        },
    )
    frozen_base: str | None = field(
        default=None,
        metadata={"help": "Model that rewards and anchors, with the policy's tokenizer; default the policy itself."},
    )
    frozen_dtype: str | None = field(
        default=None,
        metadata={
            "help": "Its dtype; default the policy's. Another one adds a KL of its own, about 0.003 nats a token."
        },
    )
    frozen_batch_tokens: int = field(default=8192, metadata={"help": "Padded tokens in one frozen forward."})
    eos_token: str | None = field(
        default=None, metadata={"help": "End token in place of the tokenizer's, e.g. <|im_end|> for chat prompts."}
    )


def build_rewards(args: RewardArguments) -> list:
    """The recipe's reward functions. The trainer lends a `FrozenReward` its frozen base; a judge has its own model.

    Raises:
        ValueError: both `rewards` and `reward_funcs`, or what `rewards_of_recipe` refuses.
    """
    if args.rewards is None:
        return [make_reward(name, {}) for name in args.reward_funcs]
    if args.reward_funcs != RewardArguments().reward_funcs:
        raise ValueError(
            "The recipe has both rewards and reward_funcs: name all of them in the entries of rewards, and leave "
            "reward_funcs out."
        )
    return rewards_of_recipe(args.rewards)


def rewards_of_recipe(entries: list | str) -> list[ShapedReward]:
    """The rewards of a recipe's `rewards`, one an entry: `{name: endorm, as: early, discount: 0.95, weight: 1.0}`.

    An entry has

    - `name`: a registered one, a dotted path, or path/to/file.py:function;
    - `as`: what logs and gates call it, by default the name (a path's last part), with _steps for a reward per step;
    - what `Shaping` takes;
    - `steps: line` or `steps: step`, with `step_reduce: sum|mean|min`, for rewards per step;
    - `model`, which a judge is loaded from; with `endpoint` instead the server's name for it, and what `EndpointJudge`
      takes;
    - settings of the reward itself.

    A gate that is no entry is added as a reward of weight 0.

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
        for key in ("as", "gate"):
            if not isinstance(entry.get(key), str | None):
                raise ValueError(f"Reward {entry['name']}: {key} is a name, got {entry[key]!r}; put it in quotes.")
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
    func = make_reward(own["name"], entry)
    if "steps" in own:
        func = StepReward(func, own["steps"], own.get("step_reduce", "sum"))
    elif "step_reduce" in own:
        raise ValueError(f"{own['name']} has step_reduce but no steps: add steps: line (or step).")
    try:
        shaping = Shaping(**{key: own[key] for key in SHAPING if key in own})
    except (TypeError, ValueError) as error:
        raise ValueError(f"Reward {own['name']}: {error}") from error
    name = re.split(r"[.:]", own["name"])[-1] + ("_steps" if "steps" in own else "")
    return ShapedReward(func, shaping, own.get("as", name))


def make_reward(name: str, settings: dict):
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
    if model is not None and from_pretrained is not None:
        return from_pretrained(model, **settings)
    if not inspect.isclass(reward):
        return partial(reward, **settings) if settings else reward
    needed = [
        p.name for p in _signature(reward) if p.kind in NAMED and p.default is p.empty and p.name not in settings
    ]
    if needed:
        missing = "a model" if from_pretrained is not None else ", ".join(needed)
        raise ValueError(f"The reward {name} cannot be made without {missing}: add that to its entry.")
    try:
        return reward(**settings)
    except TypeError as error:
        raise ValueError(f"The reward {name} cannot be made with {settings}: {error}.") from error


def _signature(function) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _settings(function) -> set[str]:
    return {p.name for p in _signature(function) if p.kind in NAMED} - NO_SETTINGS
