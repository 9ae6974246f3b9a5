"""The reward that the README adds in ten lines does work."""

import re
import sys
import types

from tiny_models import ROOT

import rewards


def test_a_reward_in_ten_lines(monkeypatch):
    block = next(
        b for b in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "REWARDS" in b
    )
    _, reward, registry, test = re.split(r"^# \S+\.py\n", block, flags=re.M)
    assert len([line for line in block.splitlines() if line and not line.startswith("#")]) <= 10
    module = types.ModuleType("rewards.distinct")
    exec(reward, vars(module))  # as if it were the file
    monkeypatch.setitem(sys.modules, "rewards.distinct", module)
    names = {"REWARDS": dict(rewards.REWARDS)}
    exec(registry, names)
    monkeypatch.setattr(rewards, "REWARDS", names["REWARDS"])
    namespace = {"get_reward": rewards.get_reward}
    exec(test, namespace)
    namespace["test_distinct"]()
