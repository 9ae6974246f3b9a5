"""Times come from the run they are said to come from, and memory is what a run needs over what was held."""

import sys
import time

import pytest
import torch

from rewards.reporting.record import record
from train.cost import stopwatch as benchmarking
from train.cost.stopwatch import MIB, extra_memory, interleave, summarize


def test_every_run_is_timed_once_a_round_in_changing_order():
    order = []
    runs = {name: (lambda name=name: order.append(name)) for name in "abc"}
    seconds = interleave(runs, repeats=20)
    rounds = [order[i : i + 3] for i in range(0, 60, 3)]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 20, "b": 20, "c": 20}
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 3


def test_a_slower_run_has_the_larger_median_and_ratio():
    seconds = interleave({"sleepy": lambda: time.sleep(0.02), "brief": lambda: None}, repeats=3)
    summary = summarize(seconds, "sleepy")
    assert summary["sleepy"]["over sleepy"] == 1
    assert summary["sleepy"]["least"] >= 0.02
    assert summary["brief"]["over sleepy"] < 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is read as Linux counts it")
def test_memory_is_the_peak_over_what_was_held_before():
    held = torch.ones(40 * MIB // 4)
    needed = [extra_memory(lambda size=size: torch.ones(size * MIB // 4).sum()) / MIB for size in (120, 30, 0)]
    assert held.sum() == len(held)
    assert needed == pytest.approx([120, 30, 0], abs=8)


def test_files_from_elsewhere_appear_by_name_alone(monkeypatch):
    monkeypatch.setattr("sys.argv", ["scripts/x.py", "--seed_script", "../elsewhere/seed.py", "--output", "/a/b.json"])
    assert record()["command"] == "python scripts/x.py --seed_script seed.py --output b.json"
    assert "settings" not in record()
    assert record({"batch": 8})["settings"] == {"batch": 8}
    assert str(torch.get_num_threads()) in record()["device"] or torch.cuda.is_available()


def test_the_device_is_named_even_where_linux_does_not_tell(monkeypatch):
    monkeypatch.setattr(benchmarking.Path, "exists", lambda self: False)
    assert benchmarking.device_name().strip()
