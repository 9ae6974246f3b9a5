"""A checkpoint is complete or is not resumed from; a request to stop ends a run cleanly; a full disk loses nothing."""

import json
import logging
import shutil
import signal
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from helpers import ppo, trained
from launching import begin, finish, kill, python, wait_for
from tiny_models import ROOT, tiny_model

from train.checkpoints import (
    COMPLETE,
    INTERRUPTED,
    checkpoint_bytes,
    enough_space,
    has_ended,
    mark_complete,
    newest_complete,
)


def test_a_training_that_was_told_to_stop_has_not_ended(tmp_path):
    assert not has_ended(tmp_path)
    (tmp_path / "trainer_state.json").touch()
    assert has_ended(tmp_path)
    (tmp_path / INTERRUPTED).touch()
    assert not has_ended(tmp_path)


def test_the_newest_complete_checkpoint(tmp_path, caplog):
    assert newest_complete(tmp_path) is None
    assert newest_complete(tmp_path / "not there") is None
    for step, complete in ((2, True), (9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if complete:
            mark_complete(tmp_path / f"checkpoint-{step}", step=step)
    (tmp_path / "checkpoint-best").mkdir()
    with caplog.at_level(logging.WARNING):
        assert newest_complete(tmp_path) == str(tmp_path / "checkpoint-10")
    assert "checkpoint-11 was never finished" in caplog.text


def test_a_full_disk_is_said_before_anything_is_lost(tmp_path, monkeypatch, caplog):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 9 * 10**8, 10**8))
    assert enough_space(tmp_path, 10**8)
    with caplog.at_level(logging.ERROR):
        assert not enough_space(tmp_path, 10**8 + 1)
    assert "NOT saving a checkpoint" in caplog.text
    assert "save_total_limit" in caplog.text


def test_the_estimate_of_a_checkpoints_size(tmp_path):
    model = tiny_model()
    n = sum(p.numel() for p in model.parameters())
    assert checkpoint_bytes(model) == 4 * n + 8 * n
    assert checkpoint_bytes(model, weights_only=True) == 4 * n
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size == pytest.approx(4 * n, rel=0.05)


@pytest.fixture
def run(saved_model, tmp_path):
    """Starts train/ppo_endorm.py on a tiny model, one process, without waiting for it."""
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{i}+{i}="}) + "\n" for i in range(64)))
    recipe = yaml.safe_load((ROOT / "configs" / "demo" / "ppo.yaml").read_text())
    recipe |= {"model_name_or_path": saved_model, "dataset_name": str(data), "output_dir": str(tmp_path / "run")}
    recipe |= {"reward_funcs": ["endorm"], "reward_weights": None, "per_device_train_batch_size": 4}
    recipe |= {"save_strategy": "steps", "save_steps": 5, "logging_steps": 1, "max_steps": 100_000}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def start(*flags, fresh=False):
        interpreter = sys.executable if fresh else python()
        command = [interpreter, "train/ppo_endorm.py", "--config", str(tmp_path / "recipe.yaml"), *flags]
        begun.append(begin(command, fresh))
        return begun[-1]

    begun = []
    yield start, tmp_path / "run"
    for process in begun:
        kill(process)


def last_step(folder):
    return json.loads((folder / "trainer_state.json").read_text())["global_step"]


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_0_and_a_kill_in_a_save_is_survived(run):
    start, folder = run
    process = start(fresh=True)
    wait_for(lambda: newest_complete(folder), process)
    process.send_signal(signal.SIGTERM)
    assert "SIGTERM received" in finish(process).stderr
    facts = json.loads((folder / INTERRUPTED).read_text())
    stopped = facts["step"]
    assert facts["by"] == "signal"
    assert newest_complete(folder) == str(folder / f"checkpoint-{stopped}")
    assert last_step(folder / f"checkpoint-{stopped}") == stopped

    # A save killed half-way leaves a folder without its last file; which moment a kill -9 hits would be chance.
    half = folder / f"checkpoint-{stopped + 5}"
    shutil.copytree(folder / f"checkpoint-{stopped}", half)
    (half / COMPLETE).unlink()
    (half / "model.safetensors").write_bytes(b"half")
    process = start("--resume_from_checkpoint", "latest", "--max_steps", str(stopped + 3))
    assert "was never finished" in finish(process).stderr
    assert last_step(folder) == stopped + 3
    assert not (folder / INTERRUPTED).exists()
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_kill_9_then_resume(run):
    start, folder = run
    process = start()
    wait_for(lambda: newest_complete(folder), process)
    process.kill()
    process.communicate()
    step = last_step(Path(newest_complete(folder)))
    finish(start("--resume_from_checkpoint", "latest", "--max_steps", str(step + 2)))
    assert last_step(folder) == step + 2


@pytest.mark.slow
def test_a_stop_file_ends_the_run_even_one_from_before_its_first_step(run):
    start, folder = run
    folder.mkdir()
    (folder / "stop").touch()
    finish(start())
    assert json.loads((folder / INTERRUPTED).read_text())["by"] == "user"
    assert newest_complete(folder) == str(folder / "checkpoint-1")
    assert not (folder / "stop").exists()  # it is obeyed once


@pytest.mark.parametrize("words, by", [("", "user"), ("17 was told by USR1", "signal")])
def test_a_launchers_stop_file_is_told_from_a_users(words, by, saved_model, tmp_path):
    (tmp_path / "stop").write_text(words)
    trainer = trained(ppo(saved_model, tmp_path, max_steps=3))
    assert trainer.state.global_step == 1
    assert json.loads((tmp_path / INTERRUPTED).read_text())["by"] == by


def test_writing_over_a_checkpoint_takes_its_mark_away_first(saved_model, tmp_path, monkeypatch):
    trainer = trained(ppo(saved_model, tmp_path, max_steps=1, save_strategy="steps", save_steps=1))
    assert newest_complete(tmp_path) == str(tmp_path / "checkpoint-1")

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(trainer), "_save_optimizer_and_scheduler", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer._save_checkpoint(trainer.model, None)
    assert newest_complete(tmp_path) is None
