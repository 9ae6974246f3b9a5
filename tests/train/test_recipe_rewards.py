"""A recipe's rewards: from what a user writes, in every spelling, to functions with settings and shaping."""

import copy
import json
import sys
from pathlib import Path

import helpers
import pytest
import yaml
from trl import ModelConfig

from rewards import REWARDS, EndoRM, StepReward
from rewards.verifiable import Accuracy
from train.ppo_trainer import PPOConfig
from train.prompts import DataArguments
from train.recipe import RecipeArguments, parse_recipe
from train.recipe_rewards import RewardArguments, add_watched, build_rewards, rewards_of_recipe
from train.reward_mix import RewardMix

ENTRIES = [
    {"name": "endorm", "weight": 1.0, "discount": 0.9, "normalise": "batch", "clip": 5},
    {"name": "endorm", "as": "endorm_mean", "reduce": "mean", "steps": "line", "step_reduce": "min"},
    {"name": "accuracy", "weight": 0.5, "gate": "endorm_mean", "anneal": [0.0, 1.0, 100]},
]


def parse(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["ppo_endorm.py", *argv, "--use_cpu", "true", "--report_to", "none"])
    return parse_recipe(PPOConfig, ModelConfig, DataArguments, RecipeArguments, RewardArguments)[-1]


@pytest.mark.parametrize("form", ["yaml", "command line"])
def test_entries_from_a_recipe(form, monkeypatch, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"rewards": ENTRIES} if form == "yaml" else {"learning_rate": 1e-6}))
    on_line = [] if form == "yaml" else ["--rewards", json.dumps(ENTRIES)]
    first, second, third = build_rewards(parse(monkeypatch, "--config", str(recipe), *on_line))
    assert isinstance(first.func, EndoRM)
    assert (first.func.discount, first.shaping.normalise, first.shaping.clip, first.name) == (
        0.9,
        "batch",
        5,
        "endorm",
    )
    assert isinstance(second.func, StepReward)
    assert (second.func.rule, second.func.reduce, second.func.inner.reduce) == ("line", "min", "mean")
    assert (second.func.inner.discount, second.name) == (1.0, "endorm_mean")
    assert third.name == "accuracy"
    assert third.shaping.gate == "endorm_mean"
    assert [third.shaping.weight_at(s) for s in (0, 50, 200)] == [0.0, 0.25, 0.5]


def test_a_gate_that_is_no_entry_is_added_and_only_logged():
    rewards = rewards_of_recipe([{"name": "endorm", "gate": "accuracy"}, {"name": "endorm", "as": "b", "gate": "b"}])
    assert [(r.name, r.shaping.weight) for r in rewards] == [("endorm", 1.0), ("b", 1.0), ("accuracy", 0.0)]
    rewards = rewards_of_recipe(["accuracy", {"name": "endorm", "steps": "line", "gate": "accuracy"}])
    assert [r.name for r in rewards] == ["accuracy", "endorm_steps"]


def test_settings_of_functions_and_judges(saved_judge, saved_model):
    judge = {"name": "generative_verifier", "model": saved_judge, "form": "prob", "device": "cpu"}
    endorm = {"name": "endorm", "model": saved_model, "device": "cpu", "alpha": 0.5}
    rewards = rewards_of_recipe([judge, endorm, {"name": "helpers.length", "scale": 2.0}, "accuracy"])
    rewards += rewards_of_recipe([{"name": "cosine_length", "max_length": 8, "max_value_correct": 2.0}])
    assert (rewards[0].func.form, rewards[1].func.alpha) == ("prob", 0.5)
    assert rewards[1].func.base is not None
    assert rewards[2].func(completion_ids=[[1, 2]]) == [4.0]
    assert rewards[2].name == "length"


def test_settings_of_an_entry_go_to_it_alone():
    entries = [{"name": "endorm", "discount": 0.5}, "constant", "random"]
    endorm, constant, random = (reward.func for reward in build_rewards(RewardArguments(rewards=entries)))
    assert isinstance(endorm, EndoRM)
    assert (endorm.discount, constant.value, random.probability) == (0.5, 1.0, 0.5)


def test_a_judge_in_a_recipe_needs_its_model(saved_judge):
    with pytest.raises(ValueError, match="trained_reward cannot be made without a model"):
        build_rewards(RewardArguments(reward_funcs=["trained_reward"]))
    judge = {"name": "generative_verifier", "model": saved_judge, "form": "prob", "device": "cpu"}
    entries = json.dumps([{"name": "endorm", "discount": 0.9}, judge])
    endorm, judge = (reward.func for reward in build_rewards(RewardArguments(rewards=entries)))
    assert (endorm.discount, judge.form) == (0.9, "prob")
    assert 0 < judge(prompts=["a"], completions=["b"])[0] < 1


@pytest.mark.parametrize(
    "entries,message",
    [
        ([{"name": "endorm", "discont": 0.9}], r"no discont \(did you mean discount"),
        ([{"name": "accuracy", "wieght": 1}], r"no wieght \(did you mean weight"),
        ([{"name": "endrom"}], "Unknown reward 'endrom'"),
        ([{"weight": 1.0}], "needs a name"),
        ([], "rewards is empty"),
        ("null", "needs a name.*got None"),
        (5, "needs a name.*got 5"),
        ([["endorm"]], r"needs a name.*got \['endorm'\]"),
        ([{"name": 5}], "needs a name"),
        ([{"name": "endorm", "as": 5}], "Reward endorm: as is a name, got 5; put it in quotes"),
        ([{"name": "endorm", "gate": True}], "Reward endorm: gate is a name, got True"),
        ([{"name": "endorm", "weight": None}], "Reward endorm: float"),
        ([{"name": "endorm", "weight": "much"}], "Reward endorm: could not convert"),
        ([{"name": "endorm", "discount": "0.9"}], r"endorm cannot be made with \{'discount': '0.9'\}: "),
        ([{"name": "cosine_length", "max_lenght": 8}], "cosine_length cannot be made with .*argument 'max_lenght'"),
        ([{"name": "helpers.length", "completion_ids": [1]}], "has no completion_ids"),  # what the trainer gives
        ([{"name": "endorm", "base": "m"}], "endorm has no base"),
        ("[{name: endorm}]", "rewards is not JSON"),
        ([{"name": "endorm", "normalise": "std"}], "Reward endorm: normalise must be one of"),
        ([{"name": "endorm", "step_reduce": "min"}], "add steps: line"),
        ([{"name": "endorm", "steps": "lines"}], "rule must be one of"),
        ([{"name": "trained_reward"}], "cannot be made without a model: add that"),
        ([{"name": "accuracy", "model": "m"}], "leave model out"),
        ([{"name": "endorm", "gate": "acuracy"}], r"A gate is the name of an entry \(endorm\).*Unknown reward"),
    ],
)
def test_entries_that_make_no_sense(entries, message):
    with pytest.raises(ValueError, match=message):
        rewards_of_recipe(entries)


def test_one_of_the_two_forms():
    build_rewards(RewardArguments(rewards=ENTRIES, reward_funcs=["endorm"]))
    with pytest.raises(ValueError, match="both rewards and reward_funcs: name all of them in the entries"):
        build_rewards(RewardArguments(rewards=ENTRIES, reward_funcs=["accuracy"]))


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_names_the_neighbours_of_a_misspelt_setting(name):
    with pytest.raises(ValueError, match=f"reward {name} (has no|cannot be made with).*weihgt"):
        rewards_of_recipe([{"name": name, "weihgt": 1}])


@pytest.mark.parametrize("entries", ['"accuracy"', ["accuracy"], {"name": "accuracy"}, '[{"name": "accuracy"}]'])
def test_one_entry_in_every_spelling(entries):
    (reward,) = rewards_of_recipe(entries)
    assert (type(reward.func), reward.name, reward.shaping.weight) == (Accuracy, "accuracy", 1.0)


def test_what_a_user_wrote_is_left_as_it_was():
    before = copy.deepcopy(ENTRIES)
    first, again = rewards_of_recipe(ENTRIES), rewards_of_recipe(ENTRIES)
    assert before == ENTRIES
    assert all(a.func is not b.func for a, b in zip(first, again))


@pytest.mark.parametrize(
    "entry, name",
    [
        ({"name": "helpers.length"}, "length"),
        ({"name": "helpers.length", "steps": "line"}, "length_steps"),
        ({"name": "helpers.length", "steps": "line", "as": "by_line"}, "by_line"),
        ({"name": str(Path(helpers.__file__)) + ":length"}, "length"),
    ],
)
def test_logs_call_a_reward_by_the_last_part_of_its_path(entry, name):
    assert rewards_of_recipe([entry])[0].name == name


def test_a_gate_of_two_is_added_once():
    entries = [{"name": "endorm", "as": x, "gate": "helpers.length"} for x in "ab"]
    rewards = rewards_of_recipe(entries)
    assert [(r.name, r.shaping.weight) for r in rewards] == [("a", 1.0), ("b", 1.0), ("helpers.length", 0.0)]
    assert rewards[2].func is helpers.length


def test_a_function_without_settings_is_itself():
    plain, scaled = rewards_of_recipe(["helpers.length", {"name": "helpers.length", "scale": 3.0, "as": "scaled"}])
    assert plain.func is helpers.length
    assert scaled.func(completion_ids=[[1], [1, 2]]) == [3.0, 6.0]
    (named,) = build_rewards(RewardArguments(reward_funcs=["helpers.length"]))
    assert named is helpers.length
    with pytest.raises(ValueError, match="Unknown reward 'endrom'"):
        build_rewards(RewardArguments(reward_funcs=["endrom"]))


# ---------------------------------------------------------------------- what is only watched


@pytest.mark.parametrize("metric", [None, "eval_loss", "reward", "rewards/endorm/std", "eval_rewards/endorm/mean"])
def test_nothing_is_watched_that_is_no_other_reward(metric):
    rewards, weights = [EndoRM()], [2.0]
    assert add_watched(rewards, metric, weights) == (rewards, weights)
    shaped = rewards_of_recipe([{"name": "accuracy", "as": "endorm"}])  # it is that entry's name that logs have
    assert add_watched(shaped, metric, None) == (shaped, None)


@pytest.mark.parametrize("metric", ["rewards/accuracy/mean", "eval_rewards/accuracy/mean"])
@pytest.mark.parametrize("weights, expected", [(None, [1.0, 1.0, 0.0]), ([0.5, 2.0], [0.5, 2.0, 0.0])])
def test_a_plain_list_gets_the_function_and_a_weight_of_0(metric, weights, expected):
    given = [EndoRM(), helpers.length]
    rewards, found = add_watched(given, metric, weights)
    assert rewards[:2] == given
    assert len(given) == 2  # and what was given stays
    assert isinstance(rewards[2], Accuracy)
    assert found == expected


def test_entries_get_an_entry_of_weight_0():
    rewards, weights = add_watched(rewards_of_recipe(["endorm"]), "eval_rewards/helpers.length/mean", None)
    assert weights is None
    mix = RewardMix(rewards, weights, 4)
    assert (mix.names, mix.weights(0).tolist()) == (["endorm", "helpers.length"], [1.0, 0.0])
    with pytest.raises(ValueError, match="Unknown reward 'acuracy'"):
        add_watched(rewards, "rewards/acuracy/mean", None)
