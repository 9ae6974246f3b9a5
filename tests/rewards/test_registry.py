"""Rewards by the names of rewards/__init__.py."""

import pytest

from rewards import REWARDS, EndoRM, get_reward


def test_unknown_reward_names():
    with pytest.raises(ValueError, match="Unknown reward 'endrom'.*endorm"):
        get_reward("endrom")
    with pytest.raises(ValueError, match="Cannot import reward 'no_such.module'"):
        get_reward("no_such.module")
    assert get_reward("endorm") is EndoRM
    names = {name: get_reward(name) for name in REWARDS}  # a class keeps the name for its instances
    assert {name for name, reward in names.items() if vars(reward).get("__name__", reward.__name__) != name} == set()
    assert get_reward("math.sqrt")(9) == 3
