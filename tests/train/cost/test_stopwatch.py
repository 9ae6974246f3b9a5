"""Times come from the run they are said to come from, and memory is what a run needs over what was held."""

import sys

import pytest
import torch

from train.cost import stopwatch
from train.cost.stopwatch import MIB, extra_memory, interleave, measurement, summarize


def test_every_run_is_timed_once_a_round_in_changing_order():
    order = []
    runs = {name: (lambda name=name: order.append(name)) for name in "abc"}
    seconds = interleave(runs, repeats=20)
    rounds = [order[i : i + 3] for i in range(0, 60, 3)]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 20, "b": 20, "c": 20}
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 3


def test_a_slower_run_has_the_larger_median_and_ratio(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])

    def takes(*seconds):
        left = list(seconds)
        return lambda: now.__setitem__(0, now[0] + left.pop())

    seconds = interleave({"slow": takes(4, 2, 3), "brief": takes(1, 1, 2)}, repeats=3)
    summary = summarize(seconds, "slow")
    assert summary["slow"] == {"median": 3, "least": 2, "most": 4, "over slow": 1}
    assert summary["brief"] == {"median": 1, "least": 1, "most": 2, "over slow": 0.3333}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is read as Linux counts it")
def test_memory_is_the_peak_over_what_was_held_before():
    held = torch.ones(40 * MIB // 4)
    needed = [extra_memory(lambda size=size: torch.ones(size * MIB // 4).sum()) / MIB for size in (120, 30, 0)]
    assert held.sum() == len(held)
    assert needed == pytest.approx([120, 30, 0], abs=8)


def test_a_measurement_is_a_record_with_the_device(monkeypatch):
    monkeypatch.setattr("sys.argv", ["scripts/x.py", "--output", "/a/b.json"])
    made = measurement({"batch": 8})
    assert made["command"] == "python scripts/x.py --output b.json"
    assert made["settings"] == {"batch": 8}
    assert {"commit", "versions"} <= made.keys()
    assert str(torch.get_num_threads()) in made["device"] or torch.cuda.is_available()


def test_the_device_is_named_even_where_linux_does_not_tell(monkeypatch):
    monkeypatch.setattr(stopwatch.Path, "exists", lambda self: False)
    assert stopwatch.device_name().strip()
