"""A run of an experiment on a chat model: its recipe, its one file, and what a second call does not do again."""

import json

import pytest
import yaml
from tiny_models import ROOT

from train.recipe_rewards import rewards_of_recipe
from train.tasks import chat_runs
from train.tasks.chat_runs import ChatRun, curves, make_run
from train.tasks.chat_tasks import TASKS, read_rows

SIZES = {"bf16": False, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "eval_steps": 4}
SIZES |= {"steps_per_generation": 2, "num_iterations": 2, "logging_steps": 1, "max_heldout_samples": 2}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def two_questions(monkeypatch):
    """A run is measured on no more than two questions of each side."""
    monkeypatch.setattr(chat_runs, "read_rows", lambda path, n=None: read_rows(path, 2))


def recipe(run, task="capitals"):
    return run.recipe(task, seed=3, rollouts=5, model=ROOT / "m", data=ROOT / "d", output=ROOT / "o")


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
@pytest.mark.parametrize("task", TASKS)
def test_a_recipe_is_that_of_the_demo_with_the_run_put_in(algorithm, task):
    of_demo = yaml.safe_load((ROOT / f"configs/demo/capitals_{algorithm}.yaml").read_text())
    found = recipe(ChatRun("a", algorithm=algorithm, fields={"learning_rate": 1e-6}), task)
    assert found["learning_rate"] == 1e-6
    assert (found["seed"], found["max_completion_length"]) == (3, TASKS[task].max_tokens)
    per_rollout = found["steps_per_generation"] * found["num_iterations"] // found["gradient_accumulation_steps"]
    assert found["max_steps"] == 5 * per_rollout
    kept = {key for key in of_demo if found.get(key) == of_demo[key]}
    assert {"algorithm", "dtype", "bf16", "lr_scheduler_type", "temperature", "num_iterations"} <= kept
    (accuracy,) = [reward for reward in found["rewards"] if reward["name"] == TASKS[task].accuracy]
    assert accuracy["weight"] == 0


@pytest.mark.parametrize("reward", ["endorm", "accuracy", "majority", "format", "random", "mean_log_likelihood"])
@pytest.mark.parametrize("task", TASKS)
def test_every_reward_of_a_row_can_be_made_and_has_a_name_of_its_own(reward, task):
    made = rewards_of_recipe(recipe(ChatRun("a", [{"name": reward}]), task)["rewards"])
    assert len({one.name for one in made}) == 2


def test_curves_are_the_metrics_that_were_logged():
    history = [{"step": 4, "reward": 1.0, "kl/k1": 0.0}, {"step": 4, "eval_rewards/accuracy/mean": 0.25}]
    assert curves([*history, {"step": 8, "reward": 2.0}]) == {
        "reward": [[4, 8], [1.0, 2.0]],
        "kl": [[4], [0.0]],
        "heldout_accuracy": [[4], [0.25]],
    }


@pytest.mark.slow
def test_a_run_ends_as_one_file_and_is_not_made_again(copies, rehearsal, tmp_path, two_questions, monkeypatch):
    run = ChatRun("random, small", [{"name": "random"}], fields=SIZES)
    made = make_run(run, "capitals", 0, 1, rehearsal, tmp_path, "float32")
    file = tmp_path / "runs/capitals_random_small_seed0.json"
    assert json.loads(file.read_text()) == made
    assert [row["decoding"] for row in made["train"]] == ["sampled", "majority of 8", "greedy"]
    assert made["curves"]["accuracy"][0] == [1]  # of the one rollout
    assert not list((tmp_path / "capitals_random_small_seed0/policy").glob("*.safetensors"))
    monkeypatch.setattr(chat_runs, "run_stage", lambda *a, **k: pytest.fail("it was trained again"))
    assert make_run(run, "capitals", 0, 1, rehearsal, tmp_path, "float32") == made


@pytest.mark.slow
def test_a_training_that_was_told_to_stop_is_not_measured_and_goes_on_later(
    copies, rehearsal, tmp_path, two_questions
):
    run = ChatRun("random", [{"name": "random"}], fields=SIZES)
    policy = tmp_path / "capitals_random_seed0/policy"
    policy.mkdir(parents=True)
    (policy / "stop").touch()
    with pytest.raises(SystemExit, match="was told to stop early: give the same command again"):
        make_run(run, "capitals", 0, 1, rehearsal, tmp_path, "float32")
    assert (policy / "trainer_state.json").is_file()  # it looks finished, and is not
    made = make_run(run, "capitals", 0, 1, rehearsal, tmp_path, "float32")
    state = json.loads((policy / "trainer_state.json").read_text())
    assert state["global_step"] == state["max_steps"] == 4
    assert made["heldout"]
    assert not list(policy.glob("checkpoint-*"))
