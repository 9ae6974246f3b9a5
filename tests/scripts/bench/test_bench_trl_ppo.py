"""The benchmark of TRL's own PPOTrainer with EndoRM, where TRL has none any more."""

import sys

import pytest

from scripts import load_script
from train.cost.legacy_trl import INSTALL
from train.tasks.arithmetic import build_tokenizer, write_splits
from train.tasks.arithmetic_model import build_model


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with an untrained base of the demo and its prompts."""
    folder = tmp_path_factory.mktemp("demo")
    write_splits(folder / "data", 40, 20, 0)
    build_model(tokenizer := build_tokenizer(), hidden=16, layers=1).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return folder


def test_a_trl_without_the_trainer_is_told_of_and_what_to_do(demo, monkeypatch):
    flags = ["--model", str(demo / "base"), "--dataset", str(demo / "data/train.jsonl")]
    monkeypatch.setattr("sys.argv", ["bench_trl_ppo.py", *flags])
    monkeypatch.setitem(sys.modules, "trl.experimental.ppo", None)  # as in every TRL from 1.13 on
    with pytest.raises(SystemExit, match=rf"has no PPOTrainer(.|\n)*{INSTALL}"):
        load_script("bench_trl_ppo").main()
