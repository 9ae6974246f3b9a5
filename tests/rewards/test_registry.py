"""Rewards by name: registered ones, dotted paths, modules of the current folder, and functions in a file."""

import sys

import pytest

from rewards import REWARDS, EndoRM, get_reward
from train.recipe_rewards import rewards_of_recipe

SOURCE = "from helper_beside import factor\n\n\ndef my_length(completion_ids, scale=1.0, **columns):\n"
SOURCE += "    return [scale * factor * len(ids) for ids in completion_ids]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with a user's file of rewards, found by nothing that is installed."""
    (tmp_path / "my_rewards_of_today.py").write_text(SOURCE)
    (tmp_path / "helper_beside.py").write_text("factor = 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [n for n in sys.modules if "my_rewards_of_today" in n or n == "helper_beside"]:
        del sys.modules[name]


def test_unknown_reward_names():
    with pytest.raises(ValueError, match="Unknown reward 'endrom'.*endorm"):
        get_reward("endrom")
    with pytest.raises(ValueError, match="Cannot import reward 'no_such.module'"):
        get_reward("no_such.module")
    assert get_reward("endorm") is EndoRM
    names = {name: get_reward(name) for name in REWARDS}  # a class keeps the name for its instances
    assert {name for name, reward in names.items() if vars(reward).get("__name__", reward.__name__) != name} == set()
    assert get_reward("math.sqrt")(9) == 3


def test_a_dotted_path_is_looked_up_in_the_current_folder(folder):
    assert get_reward("my_rewards_of_today.my_length")(completion_ids=[[1, 2, 3]]) == [6.0]


@pytest.mark.parametrize("absolute", [False, True])
def test_a_function_in_a_file(folder, absolute):
    name = f"{folder / 'my_rewards_of_today.py' if absolute else 'my_rewards_of_today.py'}:my_length"
    reward = get_reward(name)
    assert reward(completion_ids=[[1, 2, 3]]) == [6.0]
    assert get_reward(f"{folder}/my_rewards_of_today.py:my_length") is reward  # read once
    [entry] = rewards_of_recipe([{"name": name, "scale": 0.5}])
    assert (entry.name, entry.func(completion_ids=[[1]])) == ("my_length", [1.0])


@pytest.mark.parametrize(
    "name,message",
    [
        ("endrom", "Unknown reward 'endrom'.*Registered rewards: accuracy"),
        ("no_such_module.reward", "Cannot import reward.*No module named"),
        ("no_such_file.py:reward", "there is no Python file .*no_such_file.py"),
        ("my_rewards_of_today.py:no_such_function", "has no attribute 'no_such_function'"),
    ],
)
def test_what_is_not_there_is_named(folder, name, message):
    with pytest.raises(ValueError, match=message):
        get_reward(name)


def test_an_error_in_a_users_file_is_the_users_to_see(folder):
    (folder / "broken_rewards.py").write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            get_reward("broken_rewards.py:reward")
