"""The environment of TRL 1.12, and the clock of its trainer on a stand-in for its module."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from train.cost import legacy_trl
from train.cost.legacy_trl import PPOClock, legacy_environment


def install(folder):
    (folder / f"trl-{legacy_trl.VERSION}.dist-info").mkdir(parents=True)
    (folder / "trl").mkdir()
    (folder / "trl/__init__.py").write_text("OLD = True\n")


def test_the_environment_is_made_once_and_comes_first(tmp_path, monkeypatch):
    commands, real = [], subprocess.run

    def pip(command, check):
        assert check
        commands.append(command)
        install(tmp_path / "old")

    monkeypatch.setattr(legacy_trl.subprocess, "run", pip)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "kept"))
    for _ in range(2):
        environment = legacy_environment(tmp_path / "old")
    assert [c[1:4] + c[-4:] for c in commands] == [
        ["-m", "pip", "install", "--no-deps", "--target", str(tmp_path / "old"), "trl==1.12.0"]
    ]
    probe = "import sys, trl, train; assert trl.OLD; print(sys.path)"
    done = real([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "kept") in done.stdout


PASSES = {"policy": 2, "value": 3, "reference": 1, "reward": 1}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Identity()

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids):
        return self.embeddings(input_ids)


@pytest.mark.parametrize("shared", [False, True])
def test_phases_and_forwards_are_told_apart(shared, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(PPOClock, "now", staticmethod(lambda: now[0]))

    def takes(seconds):
        def function(model=None, ids=None):
            now[0] += seconds
            return [net(input_ids=ids) for net in inside.get(model, [])]

        return function

    policy, critic, reference = Net(), Net(), Net()
    network = reference if shared else Net()
    value_model, reward, both = nn.Module(), nn.Module(), nn.Module()
    inside = {policy: [policy], reference: [reference], value_model: [critic], reward: [network]}
    inside[both] = [critic, policy]
    module = SimpleNamespace(batch_generation=takes(8), get_reward=takes(2), forward=takes(1))
    module.gc = SimpleNamespace(collect=takes(16))
    networks = {"policy": policy, "value": critic, "reference": reference} | ({} if shared else {"reward": network})
    clock = PPOClock(module, 1, reference, reward, networks)

    now[0] = 1000.0
    ids = torch.ones(6, 3, dtype=torch.long)
    for step, pause in ((1, 500.0), (2, 0.5), (3, 1.5)):  # the first rollout warms up
        module.batch_generation(policy, ids)
        module.forward(reference, ids)
        module.get_reward(value_model, ids)
        module.get_reward(reward, ids)
        module.gc.collect()
        now[0] += 32  # advantages
        for _ in range(4):
            module.forward(both, ids[:3])
            now[0] += pause  # backward and optimizer
        clock.on_step_end(None, SimpleNamespace(global_step=step), None)
        module.gc.collect()
    passes = {"policy": 2, "value": 3, "reference": 2} if shared else PASSES
    assert clock.results(responses=6) == {
        "seconds": {
            "generation": 8,
            "reference": 1,
            "reward model": 2,
            "critic": 2,
            "garbage collection": 32,  # twice a rollout, the one after the last step left out with its rollout
            "update": 8,
            "whole": 85,
        },
        "rollout_seconds": [83, 87],
        "samples_per_second": round(6 / 85, 2),
        "passes": passes,
        "tokens_read": {name: 3 * n for name, n in passes.items()},  # three a response
    }
