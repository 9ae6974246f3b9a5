"""The benchmark of whole steps runs its contenders side by side and says what each costs."""

import json
from argparse import Namespace

import pytest
import yaml
from speed_tables import tables
from table_cells import cells
from tiny_models import ROOT

from scripts import load_script

FLAGS = ["--preset", "tiny", "--vocab_size", "2048", "--batch", "8", "--prompt_tokens", "8", "--response_tokens", "4"]


@pytest.fixture
def script(monkeypatch):
    module = load_script("bench_step")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda *flags: (monkeypatch.setattr("sys.argv", ["bench_step.py", *FLAGS, *flags]), module.main())


@pytest.mark.slow
def test_contenders_run_side_by_side(script, tmp_path, capsys):
    output = tmp_path / "new" / "step.json"
    names = ["ours: PPO, frozen base in bf16", "TRL GRPO + reward model"]
    script("--rounds", "1", "--warm_up", "1", "--rollouts", "2", "--only", *names, "--output", str(output))
    result = json.loads(output.read_text())
    ours, theirs = (result["contenders"][name] for name in names)
    assert ours["passes"] == {"policy": 3, "frozen base": 1}
    assert theirs["passes"] == {"policy": 3, "reference": 1, "reward": 1}
    assert len(ours["rollout_seconds"]) == len(theirs["rollout_seconds"]) == 2
    # three networks, one with a gradient and two moments, beside two, the frozen one in half the bytes
    assert theirs["model_bytes"]["all"] == pytest.approx(6 / 4.5 * ours["model_bytes"]["all"], rel=0.1)
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    table = cells(capsys.readouterr().out)
    assert table == cells(tables({"step.json": result}))
    assert [row[0] for row in table[2:4]] == names
    assert [row[0] for row in table[4:]] == ["share of the limit", table[5][0], "limit, ms", *names]
    assert result["limits"]["whole"] == pytest.approx(sum(s for p, s in result["limits"].items() if p != "whole"))


def test_the_real_demo_runs_its_own_recipes(tmp_path):
    module = load_script("bench_step")
    args = Namespace(preset=module.REAL, bf16=True, real_model=tmp_path / "m", batch=64, epochs=2, minibatches=2)
    args.response_tokens, args.prompt_tokens = 24, 64
    model, data = module.inputs(args, tmp_path)
    assert model == args.real_model
    assert "capital of" in data.read_text()
    commands = module.contenders(args, model, data)
    assert {"ours: PPO", "ours: GRPO", "TRL GRPO + reward model"} <= set(commands)
    assert not [name for name in commands if "1.12" in name]
    for command in commands.values():
        assert str(data) in command
        assert "--per_device_train_batch_size" not in command  # what the recipe says, and args repeat
    recipe = yaml.safe_load((ROOT / "configs/demo/capitals_ppo.yaml").read_text())
    assert recipe["per_device_train_batch_size"] * recipe["steps_per_generation"] == 64
    assert (recipe["num_iterations"], recipe["max_completion_length"]) == (2, 24)


def test_contenders_that_do_not_exist_are_named_errors(script, capsys):
    with pytest.raises(SystemExit):
        script("--only", "TRL 0.7")
    assert "fits none of: ours: PPO" in capsys.readouterr().err


@pytest.mark.slow
def test_a_contender_that_fails_is_named_with_its_error(script):
    with pytest.raises(SystemExit, match=r"ours: GRPO, LoRA: (.|\n)*failed(.|\n)*divisible"):
        script("--batch", "4", "--rounds", "1", "--only", "GRPO, LoRA")
