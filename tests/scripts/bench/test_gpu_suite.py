"""The suite for a GPU: it goes on where it ended, stops in time, and its table says what each step found."""

import json

import pytest
import torch
from tiny_models import ROOT

from scripts import load_script

suite = load_script("gpu_suite")
WRITE = "import json, sys; json.dump({'x': 1}, open(sys.argv[sys.argv.index('--output') + 1], 'w'))"


def step(name, code=WRITE):
    return suite.Step(name, f"what {name} is", ["-c", code], ["-c", code], lambda result: f"x is {result['x']}")


def test_steps_that_are_there_are_not_run_again_and_those_that_failed_are(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(suite, "steps", lambda: [step("a"), step("b", "raise SystemExit('no memory')")])
    arguments = ["--small", "--output", str(tmp_path)]
    assert suite.main(arguments) == 1
    assert "no memory" in (tmp_path / "b.log").read_text()
    out = capsys.readouterr().out
    assert "x is 1" in out
    assert "FAILED, see" in out
    (tmp_path / "a.json").write_text(json.dumps({"x": 7}))
    monkeypatch.setattr(suite, "steps", lambda: [step("a"), step("b")])
    assert suite.main(arguments) == 0
    assert "x is 7" in (tmp_path / "suite.md").read_text()
    assert (tmp_path / "b.json").exists()


def test_nothing_begins_when_the_minutes_are_spent(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(suite, "steps", lambda: [step("a")])
    assert suite.main(["--small", "--minutes", "0", "--output", str(tmp_path)]) == 0
    assert "out of time" in capsys.readouterr().out
    assert not (tmp_path / "a.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the suite would begin to measure")
def test_without_a_gpu_it_says_how_to_rehearse(tmp_path):
    with pytest.raises(SystemExit, match="--small"):
        suite.main(["--output", str(tmp_path)])


def test_each_step_is_a_script_that_takes_its_flags():
    for of_it in suite.steps():
        for command in (of_it.command, of_it.small):
            text = (ROOT / command[0]).read_text(encoding="utf-8")
            own = [word for word in command if word.startswith("--")]
            if "time_rollouts" in command[0]:  # which takes every field of a recipe too
                own = ["--preset", "--config"]
            assert all(f'"{flag}"' in text for flag in own), (command, own)


def test_the_headlines_read_what_the_scripts_write():
    row = {"median": 2.0, "over ours": 1.0}
    scoring = {"summary": {"ours": row, "limit": row | {"over ours": 0.9}}, "extra_memory_mib": {"ours": 512.4}}
    assert (
        suite.scoring_headline(scoring) == "2.000 s; times of others over ours: 0.90 x limit; 512 MiB over the weights"
    )
    timed = {"seconds": {"whole": 3.0, "generation": 1.0}, "KL of the first step, nats a token": {"kl/k3": 0.0031}}
    timed |= {"GiB": {"measured peak": 10.0, "planned peak": 11.0}}
    assert suite.step_headline(timed) == (
        "generation 1.00, whole 3.00 s; peak 10.0 GiB, planned 11.0; first step: kl/k3 0.0031"
    )
    rows = {"scoring": {"over scoring": 1.0}, "scoring, compiled": {"over scoring": 0.5}}
    compiled = {"summary": rows, "first_call_seconds": {"scoring, compiled": 61.0}, "largest_deviation_nats": 1e-3}
    assert suite.compile_headline(compiled) == "scoring, compiled 0.50 x plain (61 s once); deviation 0.001 nats"
    launchers = [{"launcher": "single", "seconds a step": 1.0, "difference of loss": 0.0}]
    launchers.append({"launcher": "zero3", "failed": "no such device"})
    told = suite.sharding_headline({"launchers": launchers})
    assert told == "single 1.00 s, loss off by 0e+00; zero3 FAILED: no such device"
