"""What demo.sh runs, and in which order, where python and accelerate only write down how they are called."""

import shutil
import subprocess

import pytest
from tiny_models import ROOT

STUB = """#!/bin/bash
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in *get_model.py*) exit "${GET_MODEL:-0}";; esac
"""


@pytest.fixture
def demo(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "scripts/demo.sh", tmp_path / "scripts")
    (tmp_path / "scripts/setup_env.sh").write_text(f'export PATH="{tmp_path}/bin:$PATH"\n')
    for name in ("python", "accelerate"):
        (tmp_path / "bin" / name).write_text(STUB)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(*flags, get_model=0):
        log = tmp_path / "log"
        log.write_text("")
        environment = {"PATH": "/usr/bin:/bin", "LOG": str(log), "GET_MODEL": str(get_model)}
        command = ["bash", str(tmp_path / "scripts/demo.sh"), *flags]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done, log.read_text().splitlines()

    return run


def scripts_of(calls):
    return [next(word for word in call.split() if word.endswith(".py")).rpartition("/")[2] for call in calls]


REAL = ["get_model.py", "write_questions.py", "ppo_endorm.py", "evaluate_chat.py"]
SMALL = ["make_base.py", "ppo_endorm.py", "evaluate_arithmetic.py"]


def test_the_real_model_is_what_runs_by_default(demo):
    done, calls = demo()
    assert done.returncode == 0
    assert scripts_of(calls) == REAL
    assert "--config configs/demo/capitals_ppo.yaml --seed 0" in calls[2]
    assert "--reward_funcs endorm train.tasks.capitals.capital_accuracy --max_completion_length 24" in calls[2]
    assert "--heldout_name outputs/demo/data/heldout.jsonl" in calls[2]


def test_flags_reach_every_stage(demo):
    flags = ("--task", "word_problems", "--algo", "grpo", "--seed", "7", "--output", "out")
    done, calls = demo(*flags)
    assert done.returncode == 0
    assert scripts_of(calls) == [*REAL[:2], "grpo_endorm.py", REAL[3]]
    assert "--config configs/demo/capitals_grpo.yaml --seed 7" in calls[2]
    assert "train.tasks.word_problems.word_problem_accuracy --max_completion_length 64" in calls[2]
    assert all("out" in call for call in calls[1:])
    assert "--task word_problems" in calls[3]
    assert "--seed 7" in calls[3]


def test_where_the_model_cannot_be_fetched_the_arithmetic_task_runs_and_says_so(demo):
    done, calls = demo(get_model=3)
    assert done.returncode == 0
    assert "arithmetic task runs in its place" in done.stdout
    assert scripts_of(calls) == ["get_model.py", *SMALL]


def test_any_other_failure_ends_it_there(demo):
    done, calls = demo(get_model=1)
    assert done.returncode == 1
    assert scripts_of(calls) == ["get_model.py"]


@pytest.mark.parametrize("task", ["capitals", "arithmetic"])
def test_half_a_training_is_not_evaluated(task, demo, tmp_path):
    (tmp_path / "out/ppo").mkdir(parents=True)
    (tmp_path / "out/ppo/interrupted.json").touch()
    done, calls = demo("--task", task, "--output", "out")
    assert done.returncode == 1
    assert "told to stop before its end: run the same command again" in done.stderr
    assert scripts_of(calls)[-1] == "ppo_endorm.py"


def test_samples_of_an_earlier_policy_go_and_the_rest_stays(demo, tmp_path):
    for name in ("samples/ppo_endorm/greedy.jsonl", "ppo/model.safetensors"):
        (tmp_path / "out" / name).parent.mkdir(parents=True)
        (tmp_path / "out" / name).touch()
    done, _ = demo("--output", "out")
    assert done.returncode == 0
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["model.safetensors"]


def test_the_arithmetic_task_fetches_nothing(demo):
    done, calls = demo("--task", "arithmetic", "--algo", "grpo")
    assert done.returncode == 0
    assert scripts_of(calls) == [SMALL[0], "grpo_endorm.py", SMALL[2]]
    assert "--config configs/demo/grpo.yaml" in calls[1]


@pytest.mark.parametrize(
    "flags, says",
    [
        (("--algo", "dpo"), "ppo or grpo"),
        (("--task", "x"), "capitals, word"),
        (("--seed",), "no value"),
        (("-h",), "--task capitals|word_problems|arithmetic"),
    ],
)
def test_a_flag_that_makes_no_sense_runs_nothing(flags, says, demo):
    done, calls = demo(*flags)
    assert done.returncode == 2
    assert says in done.stdout + done.stderr
    assert calls == []
