"""A run's folder tells what was run; W&B (offline) and TensorBoard hold the same, and nothing is sent unless asked."""

import json
import struct
import time

import pytest
import wandb
from helpers import COMMON, PROMPTS, ppo
from limits import LIMIT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_models import tiny_tokenizer
from transformers import TrainerCallback
from wandb.proto import wandb_internal_pb2

from rewards import EndoRM
from rewards.reporting.record import versions
from train.ppo_trainer import PPOConfig, PPOTrainer
from train.run import checkpoint_to_resume
from train.tracking import RunFolder, Trackers, TrackingArguments, summary_line


def records(path):
    """The protobuf records of a .wandb file, which is a LevelDB log: blocks of 32 KiB, records in fragments."""
    data, position, parts = path.read_bytes(), 7, b""  # after the file's own header
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last fragment of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def run(saved_model, folder, **changes):
    trainer = ppo(saved_model, folder, kl_coef=0.02, **changes)
    tracking = TrackingArguments(run_group="a group", run_tags=["one", "two"])
    tracking.set_environment()
    trainer.add_callback(RunFolder(trainer, tracking))
    trainer.train()
    return trainer


@pytest.mark.slow
def test_the_run_folder_describes_itself(saved_model, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train/ppo_endorm.py", "--config", "x.yaml"])
    run(saved_model, tmp_path, max_steps=2)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["command"][1:] == ["--config", "x.yaml"]
    assert facts["versions"]["trl"] == versions()["trl"]
    assert facts["recipe"]["kl_coef"] == 0.02
    assert facts["recipe"]["run_group"] == "a group"
    assert facts["processes"] == 1
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    assert "kl/k1" in rows[0]
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_wandb_offline_holds_config_metrics_completions_and_figure(saved_model, tmp_path, monkeypatch):
    settings = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}
    for name, value in (settings | {"WANDB__SERVICE_WAIT": str(LIMIT), "WANDB_INIT_TIMEOUT": str(LIMIT)}).items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_TAGS"):
        monkeypatch.delenv(name, raising=False)
    tracked = {"report_to": "wandb", "run_name": "a name", "log_completions": True, "num_completions_to_print": 0}
    run(saved_model, tmp_path / "run", max_steps=2, **tracked)
    wandb.finish()

    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found, end = [], time.monotonic() + LIMIT  # another process writes it
    while not any(r.WhichOneof("record_type") == "exit" for r in found):
        assert time.monotonic() < end, [r.WhichOneof("record_type") for r in found]
        time.sleep(0.1)
        found = list(records(file))
    (start, *_) = [r.run for r in found if r.WhichOneof("record_type") == "run"]
    assert (start.display_name, start.run_group, list(start.tags)) == ("a name", "a group", ["one", "two"])
    assert start.project == "endorm"
    updates = [u for r in found if r.WhichOneof("record_type") == "config" for u in r.config.update]
    config = {u.key or "/".join(u.nested_key): u.value_json for u in updates}
    assert json.loads(config["kl_coef"]) == 0.02
    assert json.loads(config["versions"])["trl"] == versions()["trl"]
    assert "git_commit" in config
    logged = {k for r in found if r.WhichOneof("record_type") == "history" for k in history_keys(r.history)}
    assert {"train/kl/k1", "train/reward", "train/critic/loss", "completions", "training"} <= logged
    assert any(b"training-" in r.SerializeToString() and b"figure" in r.SerializeToString() for r in found)
    table = json.loads(next(file.parent.glob("files/media/table/completions*.json")).read_text())
    for name in ("endorm_tokens", "log_prob_tokens"):
        column = table["columns"].index(name)
        assert all(":" in row[column] for row in table["data"])
    assert list(file.parent.glob("files/media/images/training*.png"))


@pytest.fixture
def own_environment(monkeypatch, tmp_path):
    """What trackers read, and what `Trackers` sets, kept within the test."""
    for name in ("WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.setenv(name, "x")  # so that it is put back
        monkeypatch.delenv(name)
    settings = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}
    for name, value in (settings | {"WANDB__SERVICE_WAIT": str(LIMIT), "WANDB_INIT_TIMEOUT": str(LIMIT)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    return monkeypatch


class Killed(TrainerCallback):
    """Ends a training in the middle of a step, as a kill does: nothing is saved, no callback hears of it."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def start(
    saved_model, folder, monkeypatch, killed_at=None, resumed=True, report_to=("wandb", "tensorboard"), **changes
):
    """One start of a run of 10 steps with a checkpoint every third, as the entry script makes it."""
    for name in ("WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.delenv(name, raising=False)  # as a new process would
    how = {"max_steps": 10, "save_strategy": "steps", "save_steps": 3, "report_to": list(report_to)} | changes
    args = PPOConfig(output_dir=str(folder), resume_from_checkpoint="latest" if resumed else None, **(COMMON | how))
    trackers = Trackers(args, "a project")
    trainer = PPOTrainer(saved_model, [EndoRM()], args, train_dataset=PROMPTS, processing_class=tiny_tokenizer())
    trainer.add_callback(RunFolder(trainer))
    if killed_at is not None:
        trainer.add_callback(Killed(killed_at))
    trackers.attach(trainer)
    try:
        trainer.train(resume_from_checkpoint=checkpoint_to_resume(args))
    except KeyboardInterrupt:
        assert killed_at is not None
    wandb.finish()
    wandb.teardown()  # reads the environment anew, as a new process does
    return trackers


@pytest.mark.slow
def test_a_run_that_is_killed_three_times_is_one_run_of_each_tracker(saved_model, tmp_path, own_environment):
    folder = tmp_path / "run"
    wandb.teardown()
    ids = [start(saved_model, folder, own_environment, killed_at=step, resumed=step != 2).id for step in (2, 5, 8)]
    ids.append(start(saved_model, folder, own_environment).id)
    assert len(set(ids)) == 1

    rows = [row for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")) for row in whole_history(file)]
    assert {file.stem for file in tmp_path.glob("wandb/offline-run-*/*.wandb")} == {f"run-{ids[0]}"}
    assert [row["train/global_step"] for row in rows if "train/loss" in row] == list(range(1, 11))
    counted = [row["_step"] for row in rows]
    assert counted == sorted(set(counted))

    (events,) = {path.parent for path in tmp_path.rglob("events.out.*")}
    scalars = EventAccumulator(str(events)).Reload().Scalars("train/loss")
    assert [event.step for event in scalars] == list(range(1, 11))
    assert events.name == ids[0]
    kept = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in kept if "loss" in row] == list(range(1, 11))

    assert start(saved_model, folder, own_environment, killed_at=1, resumed=False).id != ids[0]


@pytest.mark.slow
def test_trackio_has_a_resumed_run_once(saved_model, tmp_path, own_environment):
    sqlite = pytest.importorskip(
        "trackio.sqlite_storage", reason="trackio is not installed: pip install -e '.[trackio]'"
    )
    own_environment.setattr(sqlite, "TRACKIO_DIR", tmp_path / "trackio")
    folder = tmp_path / "run"
    first = start(saved_model, folder, own_environment, killed_at=5, resumed=False, report_to=["trackio"])
    start(saved_model, folder, own_environment, report_to=["trackio"])
    assert sqlite.SQLiteStorage.get_runs("a project") == [f"run-{first.id}"]
    rows = sqlite.SQLiteStorage.get_logs("a project", f"run-{first.id}")
    assert [row["train/global_step"] for row in rows if "train/loss" in row] == list(range(1, 11))


def whole_history(file):
    """Rows of metrics in a .wandb file, once its writer has ended it."""
    end = time.monotonic() + LIMIT
    found = list(records(file))
    while not any(r.WhichOneof("record_type") == "exit" for r in found):
        assert time.monotonic() < end, [r.WhichOneof("record_type") for r in found]
        time.sleep(0.1)
        found = list(records(file))
    for record in found:
        if record.WhichOneof("record_type") == "history":
            yield {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}


def history_keys(history):
    return [item.key or item.nested_key[0] for item in history.item]


@pytest.mark.slow
def test_tensorboard_holds_the_figure_too(saved_model, tmp_path):
    run(saved_model, tmp_path, max_steps=1, report_to="tensorboard")
    events = EventAccumulator(str(next(tmp_path.rglob("events.out.*")).parent))
    events.Reload()
    assert "train/kl/k1" in events.Tags()["scalars"]
    assert events.Tags()["images"] == ["training"]


def test_a_resumed_run_drops_the_metrics_of_steps_it_repeats(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s}) + "\n" for s in (1, 2, 3, 4)))
    RunFolder._keep_metrics_up_to(2, path)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
    RunFolder._keep_metrics_up_to(0, path)
    assert path.read_text() == ""


def test_a_line_of_metrics_names_rewards_as_the_recipe_does():
    logs = {"reward": 0.5, "rewards/endorm/mean": 0.25, "rewards/right/mean": 0.75, "kl/k1": 0.01, "other": 3.0}
    assert summary_line(logs, 8, 480, ["endorm", "right"]) == (
        "step 8/480  reward 0.500  endorm 0.250  right 0.750  kl 0.0100"
    )
    assert summary_line(logs, 8, 480, ["endorm"]) == "step 8/480  reward 0.500  kl 0.0100"
    evaluated = {f"eval_{name}": value for name, value in logs.items()} | {"epoch": 1.0}
    assert summary_line(evaluated, 8, 480, ["endorm", "right"]) == (
        "step 8/480  held out  reward 0.500  endorm 0.250  right 0.750  kl 0.0100"
    )
