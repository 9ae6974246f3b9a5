"""vLLM servers on this machine's CPUs, as `scripts/cluster/serve_vllm.sh` starts them."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from limits import LIMIT
from tiny_models import PROBLEMS, ROOT

from train.tasks.rehearsal_model import make_rehearsal_model

# One GiB for the cache of keys and values, and no threads bound to cores that another process has
SMALL = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_CI_ENV": "1", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}


@pytest.fixture(autouse=True, scope="session")
def on_small_machines():
    os.environ.update(SMALL)


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory) -> str:
    """A tiny model with heads of 32 entries: vLLM's attention on CPUs takes no smaller ones."""
    folder = tmp_path_factory.mktemp("rehearsal")
    texts = [f"{row['problem']} {row['solution']}" for row in PROBLEMS]
    make_rehearsal_model(texts, folder, vocab_size=320, hidden_size=64)
    return str(folder)


@dataclass
class Server:
    """A running server: where it listens, and its log."""

    url: str
    port: int
    log: Path

    def settings(self) -> dict:
        """Of a recipe whose rollouts it makes."""
        return {
            "use_vllm": True,
            "vllm_mode": "server",
            "vllm_server_host": "127.0.0.1",
            "vllm_server_port": self.port,
            "vllm_group_port": free_port(),  # that of an earlier training of this process may still be open
        }


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts a server of a model and waits until it answers; it ends with the module."""
    running = []

    def start(model: str, dtype: str, *flags: str) -> Server:
        port = free_port()
        log = tmp_path_factory.mktemp("server") / "log"
        command = ["bash", "scripts/cluster/serve_vllm.sh", model, "--served-model-name", "served"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", dtype, "--max-model-len", "1024"]
        with log.open("w") as file:
            environment = os.environ | SMALL
            process = subprocess.Popen(
                [*command, "--enforce-eager", *flags], cwd=ROOT, env=environment, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        running.append(process)
        server = Server(f"http://127.0.0.1:{port}", port, log)
        end = time.monotonic() + LIMIT
        while not answers(server.url):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.5)
        return server

    yield start
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/health", timeout=60).status == 200
    except OSError:
        return False
