"""The file for SkyPilot: its commands, run as two machines that are both this one."""

import json
import math
import socket

import pytest
import yaml
from launching import begin, finish, logged
from tiny_models import ROOT

FILE = yaml.safe_load((ROOT / "scripts/cluster/sky.yaml").read_text())


def test_what_it_names_is_there():
    defaults = FILE["envs"]
    for name in ("RECIPE", "LAUNCHER"):
        assert (ROOT / defaults[name]).is_file()
    assert (ROOT / f"train/{defaults['ALGORITHM']}_endorm.py").is_file()
    assert defaults["OUTPUT"].startswith(tuple(FILE["file_mounts"]))  # what outlives the machines


@pytest.mark.slow
def test_two_machines_train_together(rehearsal, problems, tmp_path):
    fields = {"model_name_or_path": rehearsal, "dataset_name": problems, "max_steps": 2, "max_completion_length": 8}
    fields |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "steps_per_generation": 2}
    fields |= {"use_cpu": True, "bf16": False, "dtype": "float32", "frozen_dtype": "float32", "report_to": "none"}
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = FILE["envs"] | {
        "LAUNCHER": "configs/accelerate/cpu_ddp.yaml",
        "OUTPUT": str(tmp_path / "run"),
        "FLAGS": " ".join(f"--{k} {v}" for k, v in fields.items()),
        "MASTER_PORT": str(port),
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
        "SKYPILOT_NUM_GPUS_PER_NODE": "1",
        "SLURM_JOB_ID": "",
    }
    nodes = [begin(["bash", "-c", FILE["run"]], SKYPILOT_NODE_RANK=str(rank), **environment) for rank in (1, 0)]
    for node in nodes:
        finish(node)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
    rows = [row for row in logged(tmp_path / "run") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(row["loss"]) for row in rows)
