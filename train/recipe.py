"""Recipes: one YAML file a run, read for a training or for a plan."""

from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from trl import ModelConfig, TrlParser

from train.grpo_trainer import EndoGRPOConfig
from train.ppo_trainer import PPOConfig
from train.prompts import DataArguments
from train.recipe_rewards import RewardArguments
from train.reward_mix import hint

CONFIGS = {"ppo": PPOConfig, "grpo": EndoGRPOConfig}


@dataclass
class RecipeArguments:
    """What a recipe says of itself."""

    algorithm: str | None = field(
        default=None,
        metadata={"help": "Which entry script the recipe is for; the other one refuses it.", "choices": list(CONFIGS)},
    )


def parse_recipe(*dataclass_types):
    """Dataclasses from `--config RECIPE.yaml` and the command line, which wins.

    Raises:
        SystemExit: for a field that does not exist, with the fields that are spelt alike.
    """
    parser = TrlParser(dataclass_types)
    known = [f for cls in dataclass_types for f in cls.__dataclass_fields__]
    try:
        *parsed, unknown_in_file, unknown_on_line = parser.parse_args_and_config(
            return_remaining_strings=True, separate_remaining_strings=True
        )
    except FileNotFoundError as error:
        parser.error(f"{error.filename} does not exist: give --config an existing recipe, such as those in configs/.")
    unknown = [s.lstrip("-").split("=")[0] for s in [*unknown_in_file, *unknown_on_line] if s.startswith("--")]
    if of_entries := [name for name in unknown if name.startswith(("endorm_", "judge_"))]:
        parser.error(
            f"{', '.join(of_entries)}: the settings of a reward stand in its entry, e.g. rewards: [{{name: endorm, "
            "discount: 0.95}, {name: rubric, model: M}]."
        )
    if unknown:
        hints = "; ".join(hint(name, known) for name in unknown)
        parser.error(f"the recipe or command line has fields that do not exist: {hints}. See --help.")
    if unknown_in_file or unknown_on_line:
        parser.error(f"cannot understand {' '.join([*unknown_in_file, *unknown_on_line])}")
    return parsed


def read_recipe(path: Path) -> dict:
    """The fields of a recipe over the defaults of the entry script that takes it, for plans: nothing else is checked.

    Raises:
        ValueError: the recipe does not say its algorithm.
    """
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    if given.get("algorithm") not in CONFIGS:
        raise ValueError(
            f"{path} does not say which algorithm it is for, so it cannot be planned: add the line algorithm: ppo or "
            "algorithm: grpo."
        )
    types = (CONFIGS[given["algorithm"]], ModelConfig, DataArguments, RewardArguments)
    defaults = {f.name: f.default for t in types for f in fields(t)}
    defaults["bf16"] = True  # TRL's own default, where the recipe says nothing
    return defaults | given
