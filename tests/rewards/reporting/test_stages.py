"""A stage runs by itself, leaves its output in a file, and ends the experiment where it fails."""

import sys

import pytest

from rewards.reporting.stages import run_stage

PROBE = "import os, sys; print(os.environ.get('OMP_NUM_THREADS'), os.environ['HF_HUB_OFFLINE']); sys.exit({})"


def test_a_stage_leaves_its_output_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    log = tmp_path / "new" / "log.txt"
    run_stage([sys.executable, "-c", PROBE.format(0)], log)
    assert log.read_text().split() == ["1", "1"]
    run_stage([sys.executable, "-c", PROBE.format(0)], log, {"OMP_NUM_THREADS": "3"}, threads=None)
    assert log.read_text().split() == ["3", "1"]


def test_a_stage_that_fails_ends_the_experiment_and_shows_what_it_said(tmp_path):
    with pytest.raises(SystemExit, match=r"failed; its output is in .*log.txt:\n(.|\n)*1 1"):
        run_stage([sys.executable, "-c", PROBE.format(4)], tmp_path / "log.txt")
