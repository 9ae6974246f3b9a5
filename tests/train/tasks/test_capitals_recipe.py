"""The recipe of the real chat model, through the entry script on a rehearsal model, for both tasks it can train."""

import pytest
import yaml
from launching import SMALL, assert_sound, launch
from tiny_models import ROOT

from train.tasks import capitals, word_problems

pytestmark = pytest.mark.slow

RECIPE = "configs/demo/capitals_ppo.yaml"


@pytest.mark.parametrize("task, reward", [(capitals, "capital_accuracy"), (word_problems, "word_problem_accuracy")])
def test_accuracy_is_logged_beside_the_reward_and_on_held_out_questions(task, reward, rehearsal, tmp_path):
    train, heldout = task.write_splits(tmp_path / "data")
    names = ["endorm", f"{task.__name__}.{reward}"]
    recipe = yaml.safe_load((ROOT / RECIPE).read_text()) | {"reward_funcs": names}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": train, "heldout_name": heldout}
    fields |= {"max_heldout_samples": 4, "eval_steps": 3, "bf16": False, "logging_steps": 1, "num_iterations": 1}
    fields |= {"metric_for_best_model": f"rewards/{reward}/mean"}
    launch("ppo_endorm", tmp_path / "recipe.yaml", tmp_path / "run", **fields)
    logged = assert_sound(tmp_path / "run", rehearsal)
    assert (logged[f"rewards/{reward}/mean"], logged[f"eval_rewards/{reward}/mean"]) == (0, 0)  # of random text
    assert logged["reward"] == pytest.approx(logged["rewards/endorm/mean"], rel=1e-5)


def test_the_recipe_learns_from_the_endogenous_reward_alone():
    recipe = yaml.safe_load((ROOT / RECIPE).read_text())
    weights = dict(zip(recipe["reward_funcs"], recipe["reward_weights"], strict=True))
    assert weights == {"endorm": 1, "train.tasks.capitals.capital_accuracy": 0}
    assert recipe["per_device_train_batch_size"] * recipe["steps_per_generation"] == 64
