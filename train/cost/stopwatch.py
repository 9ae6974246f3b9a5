"""Measuring side by side: interleaved repeats, peak memory, and a record that names the device."""

from __future__ import annotations

import ctypes
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm.auto import tqdm

from rewards.reporting.record import record

MIB = 2**20


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleave(runs: dict[str, Callable], repeats: int, seed: int = 0) -> dict[str, list[float]]:
    """Seconds of every run, once a round, in a new order each round.

    What slows a machine for a while then slows all of them alike, and none always follows the one that has just freed
    gigabytes, which costs page faults.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(seed)
    rounds = [name for _ in range(repeats) for name in order.sample(list(runs), len(runs))]
    for name in tqdm(rounds, desc="timing", unit="run", disable=None):
        synchronize()
        start = time.perf_counter()
        runs[name]()
        synchronize()
        seconds[name].append(time.perf_counter() - start)
    return seconds


def summarize(seconds: dict[str, list[float]], reference: str) -> dict[str, dict[str, float]]:
    """Median, least and most seconds of each run, and its median over that of `reference`."""
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        name: {
            "median": round(median[name], 5),
            "least": round(min(times), 5),
            "most": round(max(times), 5),
            f"over {reference}": round(median[name] / median[reference], 4),
        }
        for name, times in seconds.items()
    }


def extra_memory(run: Callable) -> int | None:
    """Bytes of memory that `run` needs at its peak, over what is held before it: of the GPU if there is one, else of
    the process as Linux counts it; None where the system does not tell, and then it is not run."""
    if torch.cuda.is_available():
        synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not sys.platform.startswith("linux"):
        return None
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what earlier runs freed goes back to the system and counts anew
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak to what is resident now
    except PermissionError:  # a container may forbid it
        return None
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def peak_memory() -> int | None:
    """Most bytes held so far, of the GPU if there is one, else of the process; None where the system does not tell."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") if sys.platform.startswith("linux") else None


def _status(name: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if x.startswith(name))
    return int(line.split()[1]) * 1024


def device_name() -> str:
    """The GPU, or the processor and its cores that may be used."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.processor())
    return f"{model or platform.machine()}, {torch.get_num_threads()} threads"


def measurement(settings: dict | None = None) -> dict:
    """The record of a measurement: that of any run, and the device, without which seconds say nothing."""
    return {"device": device_name()} | record(settings)
