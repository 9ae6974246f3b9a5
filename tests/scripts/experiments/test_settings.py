"""The settings' runs are recipes that the trainers take, and their table says what the files say."""

import yaml
from tiny_models import ROOT

from rewards import EndoRM
from rewards.shaping import Shaping
from scripts import load_script
from train.ppo_trainer import PPOConfig
from train.tasks.chat_evaluation import accuracy

experiment = load_script("settings")


def run(name, sampled, tokens, **curves):
    cells = [{"decoding": "sampled", "mean_tokens": tokens, "ended": 1.0} | accuracy(sampled)]
    cells.append({"decoding": "greedy"} | accuracy([0.5] * len(sampled)))
    return {"name": name, "task": "capitals", "seed": 0, "heldout": cells, "train": cells, "curves": curves}


def test_each_run_changes_one_thing_beside_the_placement():
    changes = {}
    for name, of_it in experiment.RUNS.items():
        (reward,) = of_it.rewards
        settings = {key: value for key, value in reward.items() if key != "name"}
        known = {"clip", "normalise"} & set(settings)
        Shaping(**{key: settings[key] for key in known})
        EndoRM(**{key: value for key, value in settings.items() if key not in known})
        assert set(of_it.fields) <= set(PPOConfig.__dataclass_fields__)
        changed = settings | {k: v for k, v in of_it.fields.items() if k != "reward_placement"}
        assert len(changed) <= 1 or set(changed) == {"discount", "floor"}, name
        changes[name] = (of_it.algorithm, repr(of_it.fields), repr(settings))
    assert len(set(changes.values())) == len(changes) >= 12


def test_what_the_runs_call_the_demo_is_the_demo():
    recipe = yaml.safe_load((ROOT / "configs/demo/capitals_ppo.yaml").read_text())
    config = PPOConfig(output_dir="x", use_cpu=True, bf16=False)
    assert (recipe["reward_placement"], recipe["kl_coef"]) == ("dense", 0.01)
    assert recipe.get("critic_learning_rate", config.critic_learning_rate) == 1e-3


def test_the_table_says_when_it_learnt_and_what_became_of_it():
    steps = [4, 8, 12, 16]
    files = [run("base", [0.2] * 4, 20.0)]
    learnt = {"accuracy": [steps, [0.2, 0.6, 0.6, 0.7]], "kl": [steps, [0, 0.1, 0.2, 0.25]]}
    files.append(run("terminal", [0.7] * 4, 8.0, explained=[steps, [0.1, 0.2, 0.3, 0.4]], **learnt))
    files.append(run("EndoRM GRPO", [0.0] * 4, 2.0, accuracy=[steps, [0.2, 0.1, 0, 0]], kl=[steps, [0, 1, 2, 3]]))
    lines = experiment.table(files).splitlines()
    assert len(lines) == 5
    assert all(text in lines[3] for text in ("terminal", "0.25", "0.10 → 0.40", "192", "+0.500", "gain"))
    assert all(text in lines[4] for text in ("EndoRM GRPO", "never", "-0.200", "collapse: short answers"))
