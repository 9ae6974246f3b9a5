"""Starts processes as a user does: entry scripts by `accelerate launch`, workers by torchrun. Waits without a clock.

Ports: every launch lets torchrun bind a port that is free and keep it (`--standalone`), so no port is chosen here.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import preloaded
from limits import LIMIT
from tiny_models import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

# torchrun takes a launcher for dead that was silent for 15 seconds, which a busy machine does to it
PATIENT = ["--rdzv_conf", ",".join(f"{k}={LIMIT}" for k in ("keep_alive_max_attempt", "join_timeout", "read_timeout"))]
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


def begin(command: list[str], fresh: bool = False, **environment: str) -> subprocess.Popen:
    """A command in a session of its own, not waited for, its output in pipes.

    Args:
        fresh: its processes import everything themselves. Otherwise those that torchrun starts, or `python()`, are
            copies of one that has TRL imported already, which saves 5 seconds of work each: see preloaded.py.
        environment: variables in addition to those of this process.
    """
    variables = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
    if not fresh:
        variables |= preloaded.variables()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=ROOT, env=variables, **pipes)


def python() -> str:
    """What can run a script in place of Python: a copy of the process that has TRL imported already."""
    return preloaded.variables()["PYTHON_EXEC"]


def finish(process: subprocess.Popen, check: bool = True) -> subprocess.CompletedProcess:
    """The process when it has ended, with what it wrote. With `check` it must have ended well."""
    try:
        stdout, stderr = process.communicate(timeout=LIMIT)
    finally:
        kill(process)
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    if check:
        assert done.returncode == 0, done.stderr[-4000:]
    return done


def kill(process: subprocess.Popen) -> None:
    """End a process that `begin` began, and those that it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Return once the condition holds. A process that ends before that is an error."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, "".join(filter(None, process.communicate()))[-3000:]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def start(script: list[str], recipe: str, output: Path, launcher=ONE_PROCESS, fresh=False, **fields):
    """`accelerate launch` of a script with a recipe and fields of it, not waited for."""
    flags = [x for k, v in fields.items() for x in (f"--{k}", str(v))]
    if launcher is ONE_PROCESS and not fresh:  # accelerate starts a single process without torchrun
        script = ["--no_python", python(), *script]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0", *PATIENT]
    command += [*launcher, *script, "--config", recipe, "--output_dir", str(output), *flags]
    return begin(command, fresh, PET_STANDALONE="1")  # torchrun's --standalone, which accelerate does not know


def launch_script(
    script: list[str], recipe: str, output: Path, launcher=ONE_PROCESS, check=True, fresh=False, **fields
):
    """As `start`, and waits for its end."""
    return finish(start(script, recipe, output, launcher, fresh, **fields), check)


def launch(script: str, recipe: str, output: Path, launcher=ONE_PROCESS, check=True, fresh=False, **fields):
    """An entry script by its name, to its end."""
    return launch_script([f"train/{script}.py"], recipe, output, launcher, check, fresh, **fields)


def torchrun(worker: str, *arguments: object, processes: int = 2, **environment: str) -> None:
    """A worker of tests/support in some processes on the CPU, to its end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *PATIENT]
    command += ["--nproc_per_node", str(processes), str(ROOT / "tests/support" / worker), *map(str, arguments)]
    finish(begin(command, ACCELERATE_USE_CPU="true", **environment))


def logged(output: Path) -> list[dict]:
    """The rows that a run has logged."""
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
