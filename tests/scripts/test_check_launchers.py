"""The comparison of launchers runs, agrees, and would notice a difference."""

import pytest

from scripts import load_script


@pytest.fixture(scope="module")
def script():
    module = load_script("check_launchers")
    return module


@pytest.mark.slow
def test_grpo_on_two_processes_takes_the_step_of_one(script, copies, capsys):
    assert script.main(["--algorithms", "grpo", "--launchers", "cpu_ddp"]) == 0
    out = capsys.readouterr().out
    assert "grpo single" in out
    assert "grpo cpu_ddp" in out
    assert "all within 0.001" in out


@pytest.mark.slow
def test_a_difference_fails(script, monkeypatch, capsys):
    rows = iter([{"loss": 0.1, "grad_norm": 1.0}, {"loss": 0.1, "grad_norm": 1.01}])
    monkeypatch.setattr(script, "launch", lambda *_: next(rows))
    monkeypatch.setattr(script, "reloads", lambda *_: True)
    assert script.main(["--algorithms", "ppo", "--launchers", "cpu_ddp"]) == 1
    assert "FAILED" in capsys.readouterr().out
