"""The real entry scripts through `accelerate launch`, with recipes that users start from, at a tiny size."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tiny_models import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

ONE_PROCESS = ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
SMALL = {
    "use_cpu": True,
    "max_steps": 3,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 2,
    "max_completion_length": 16,
    "save_steps": 3,
}


def launch(script: str, recipe: str, output: Path, launcher=ONE_PROCESS, check=True, **fields):
    return launch_script([f"train/{script}.py"], recipe, output, launcher, check, **fields)


def start(script: list[str], recipe: str, output: Path, launcher=ONE_PROCESS, **fields) -> subprocess.Popen:
    """A run in a session of its own, not waited for."""
    flags = [x for k, v in fields.items() for x in (f"--{k}", str(v))]
    with socket.socket() as s:  # a free port, so that tests can run side by side
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", port, *launcher]
    command += [*script, "--config", recipe, "--output_dir", str(output), *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def launch_script(script: list[str], recipe: str, output: Path, launcher=ONE_PROCESS, check=True, **fields):
    process = start(script, recipe, output, launcher, **fields)
    try:
        stdout, stderr = process.communicate(timeout=150)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the launcher and what it started
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    if check:
        assert done.returncode == 0, done.stderr[-4000:]
    return done


def logged(output: Path) -> list[dict]:
    return json.loads((output / "trainer_state.json").read_text())["log_history"]


def assert_sound(output: Path, rehearsal: str, steps: int = 3) -> dict:
    """Every metric is a finite number, the policy has moved, loads with plain transformers and generates."""
    rows = logged(output)
    merged = {k: v for row in rows for k, v in row.items()}
    assert [k for k, v in merged.items() if not math.isfinite(v)] == []
    assert rows[-1]["step"] == steps
    policy, tokenizer = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    chat = [{"role": "user", "content": "What is 1 + 1?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert policy.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    return merged
