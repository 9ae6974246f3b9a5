"""Watches: which metrics trip them, that a run warns, stops and keeps its best, and goes on as it was."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset
from helpers import ppo, trained
from tiny_models import ROOT
from transformers import AutoModelForCausalLM

from train.tasks.chat_runs import CURVES
from train.tasks.chat_tables import verdict
from train.watches import WatchArguments, Watches, at_its_best, heldout_signs, rollout_signs

SOUND = {"reward": 1.0, "completions/mean_length": 10.0, "completions/repetition_rate": 0.0, "entropy": 0.5}
SOUND |= {"completions/eos_rate": 0.9, "completions/mean_terminated_length": 8.0}
LIMITS = WatchArguments()


@pytest.mark.parametrize(
    "change, sign",
    [
        ({}, None),
        ({"completions/mean_length": 6.9}, None),  # fewer of them are cut off
        ({"completions/mean_length": 6.9, "completions/mean_terminated_length": 5.5}, "length"),
        ({"completions/mean_terminated_length": 0.0}, None),  # none ended
        ({"completions/mean_length": 15.1}, "length"),
        ({"completions/mean_length": 7.1, "entropy": 0.016, "completions/eos_rate": 0.61}, None),
        ({"completions/repetition_rate": 0.16}, "repetition"),
        ({"entropy": 0.014}, "entropy"),
        ({"completions/eos_rate": 0.59}, "end_token"),
    ],
)
def test_signs_of_a_rollout(change, sign):
    rows = [SOUND, SOUND | {"completions/mean_length": 9.0}, SOUND | {"completions/mean_length": 11.0}]
    assert list(rollout_signs([*rows, SOUND | change], LIMITS)) == ([sign] if sign else [])
    assert rollout_signs([*rows[:2], SOUND | change], LIMITS) == {}  # that is how the run began


@pytest.mark.parametrize(
    "accuracy, rewards, n, signs",
    [
        ([0.5, 0.9], [1, 2], 1000, []),
        ([0.5, 0.9, 0.86], [1, 2, 3], 1000, []),
        ([0.5, 0.9, 0.84], [1, 2, 3], 1000, ["held_out"]),
        ([0.5, 0.9, 0.84], [1, 2, 3], 50, []),  # 3 standard errors are 0.18
        ([0.5, 0.9, 0.87, 0.87], [1, 2, 3, 3], 1000, ["divergence"]),
        ([0.5, 0.9, 0.87, 0.87], [1, 2, 1.5, 1.5], 1000, []),  # the reward fell too
        ([0.5, 0.9, 0.87, 0.89], [1, 2, 3, 3], 1000, []),
        ([0.9, 0.8, 0.95], [1, 2, 3], 1000, []),
    ],
)
def test_signs_of_an_evaluation(accuracy, rewards, n, signs):
    evaluations = [{"step": 10 * i, "eval_x": a} for i, a in enumerate(accuracy)]
    rows = [{"step": 10 * i, "reward": r} for i, r in enumerate(rewards)]
    assert list(heldout_signs(evaluations, rows, "eval_x", n, LIMITS)) == signs


@pytest.mark.parametrize(
    "accuracy, n, best",
    [
        ([0.9], 64, False),
        ([0.1, 0.4], 64, True),
        ([0.4, 0.1], 64, False),
        ([0.5, 0.43], 64, True),
        ([0.5, 0.4], 64, False),
    ],
)
def test_at_its_best_is_within_a_standard_error(accuracy, n, best):
    assert at_its_best(accuracy, n) == best


@pytest.mark.parametrize("accuracy, tripped", [([0.2, 0.5], []), ([0.5, 0.2], ["length"]), ([], ["length"])])
def test_short_responses_are_no_sign_while_held_out_accuracy_is_at_its_best(accuracy, tripped, tmp_path):
    state = SimpleNamespace(log_history=[], is_world_process_zero=True, global_step=9)
    args = SimpleNamespace(metric_for_best_model="rewards/x/mean", output_dir=str(tmp_path), eval_strategy="steps")
    trainer = SimpleNamespace(args=args, eval_dataset=[0] * 64, num_generations_eval=1)
    watches = Watches(trainer, LIMITS)
    short = {"completions/mean_length": 6.0, "completions/mean_terminated_length": 5.0}
    history = [{"step": i} | SOUND for i in range(3)]
    history += [{"step": 3, "eval_rewards/x/mean": value} for value in accuracy] + [{"step": 4} | SOUND | short]
    for row in history:
        state.log_history.append(row)
        watches.on_log(args, state, SimpleNamespace())
    assert sorted(watches._tripped - {"held_out"}) == tripped


def rows_of(run: dict) -> list[dict]:
    """The logged rollouts of a run of a chat model, out of its file."""
    columns = {CURVES[name]: dict(zip(*curve)) for name, curve in run["curves"].items() if "heldout" not in name}
    steps = sorted(columns["reward"])
    return [{"step": step} | {k: points[step] for k, points in columns.items() if step in points} for step in steps]


def gains() -> list[Path]:
    """The files of the runs of a real chat model that gained accuracy."""
    found = []
    for path in sorted((ROOT / "scripts/experiments").glob("s*/results/*_seed*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        base = ROOT / f"scripts/experiments/self_improvement/results/{run['task']}_base_seed{run['seed']}.json"
        if run["name"] != "base" and verdict([run], [json.loads(base.read_text(encoding="utf-8"))]) == "gain":
            found.append(path)
    return found


@pytest.mark.parametrize("path", gains(), ids=lambda path: path.stem)
def test_a_sound_run_of_a_real_model_trips_no_watch(path):
    run = json.loads(path.read_text(encoding="utf-8"))
    rows, evaluations, signs = rows_of(run), list(zip(*run["curves"]["heldout_accuracy"])), set()
    for end, row in enumerate(rows, 1):
        known = [accuracy for step, accuracy in evaluations if step < row["step"]]  # a rollout is logged first
        signs |= set(rollout_signs(rows[:end], LIMITS, known, n=64))
    assert not signs


def decaying(trainer_steps: list[float]):
    """A reward that is what a script says, so that held-out accuracy follows it."""
    state = {"calls": 0}

    def scripted(completions, trainer_state=None, **columns):
        state["calls"] += 1
        step = trainer_state.global_step
        return [trainer_steps[min(step // 2, len(trainer_steps) - 1)]] * len(completions)

    return scripted


def watched(saved_model, folder, action, **changes):
    heldout = Dataset.from_dict({"prompt": ["ab", "cde", "f", "gh="] * 50})
    settings = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 200, "max_steps": 12}
    settings |= {"metric_for_best_model": "rewards/scripted/mean", "save_strategy": "best", "learning_rate": 1e-3}
    settings |= {"load_best_model_at_end": True, "save_total_limit": 2}
    rewards = [decaying([0.2, 0.5, 0.9, 0.9, 0.4, 0.3, 0.3])]
    trainer = ppo(saved_model, folder, rewards, {"eval_dataset": heldout}, **(settings | changes))
    trainer.add_callback(Watches(trainer, WatchArguments(watch=action)))
    return trainer


@pytest.mark.slow
def test_a_run_stops_and_keeps_its_best(saved_model, tmp_path, caplog):
    trainer = trained(watched(saved_model, tmp_path, "stop"))
    assert trainer.state.global_step == 8
    assert trainer.state.best_metric == pytest.approx(0.9)
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")
    tripped = [json.loads(line) for line in (tmp_path / "watches.jsonl").read_text().splitlines()]
    assert [(row["step"], row["watch"]) for row in tripped] == [(8, "held_out")]
    assert "watch held_out: held-out accuracy is 0.400, at its best (step 4) 0.900; stopping" in caplog.text
    best = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-4").state_dict()
    assert all((best[name] == p).all() for name, p in trainer.model.named_parameters())


@pytest.mark.slow
def test_warnings_come_once_and_off_is_off(saved_model, tmp_path, caplog):
    trainer = trained(watched(saved_model, tmp_path / "warn", "warn"))
    assert trainer.state.global_step == 12
    rows = (tmp_path / "warn" / "watches.jsonl").read_text().splitlines()
    assert [json.loads(row)["watch"] for row in rows] == ["held_out"]
    trained(watched(saved_model, tmp_path / "off", "off"))
    assert not (tmp_path / "off" / "watches.jsonl").exists()


def test_settings_that_cannot_work(saved_model, tmp_path):
    with pytest.raises(ValueError, match="set it to warn, stop or off"):
        WatchArguments(watch="maybe")
    with pytest.raises(ValueError, match="two shares around 1"):
        WatchArguments(watch_length=[1.2, 1.5])
    with pytest.raises(ValueError, match="nothing is done with them: set eval_strategy"):
        watched(
            saved_model, tmp_path, "warn", metric_for_best_model=None, load_best_model_at_end=False, save_strategy="no"
        )
