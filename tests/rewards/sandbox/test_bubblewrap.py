"""Hostile programs are held, and nothing is left of any: what the host saw is looked at after each."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from rewards.sandbox import bubblewrap
from rewards.sandbox.bubblewrap import Bubblewrap, Limits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("bwrap") is None, reason="bubblewrap is not installed: apt-get install bubblewrap"
    ),
]
FORKS = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
THREADS = """
import threading, time
n = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        n += 1
except RuntimeError:
    print(n < 64)
"""
DISK = """
written = 0
try:
    for i in range(10_000):
        with open(f"/tmp/{i}", "wb") as file:
            written += file.write(b"x" * 100_000)
except OSError as error:
    print(error.errno, written < 20_000_000)
"""
SHARED_MEMORY = """
try:
    open("/dev/shm/x", "wb").write(b"x")
except OSError as error:
    print(error.errno)
"""
INTERPRETER = """
import json, os
for path in (json.__file__, "/usr/bin/x", os.__file__ + "x", "/proc/sys/kernel/core_pattern", "/x"):
    try:
        open(path, "w")
        print("written", path)
    except OSError:
        pass
print("kept")
"""
CONNECT = """
import socket
try:
    socket.create_connection(("127.0.0.1", %d), 1)
except OSError:
    print("no")
"""
KILL = """
import os
for pid in (os.getppid(), 1, -1, %d):
    try:
        os.kill(pid, 9)
    except OSError:
        pass
"""
CLAIM = """
import os
for n in range(3, 64):
    try:
        os.write(n, b"begun token")
    except OSError:
        pass
os._exit(0)
"""
NAMESPACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), libc.setuid(0), libc.sethostname(b"x", 1), os.getuid() != 0)
"""


@pytest.fixture(scope="module")
def sandbox():
    return Bubblewrap(Limits(seconds=1, memory=256, processes=8, output=64, disk=8))


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process, open file or child of this process more than before."""
    me = psutil.Process()
    files, threads, others = me.num_fds(), threading.active_count(), set(me.children(recursive=True))
    yield
    assert set(me.children(recursive=True)) <= others
    assert me.num_fds() <= files
    assert threading.active_count() <= threads


@pytest.mark.parametrize("program", [FORKS, "while True: pass", "import time\ntime.sleep(1e6)"], ids=str)
def test_what_does_not_end_is_ended(program, sandbox, monkeypatch):
    monkeypatch.setattr(bubblewrap, "_WALL", 3)
    assert not sandbox.run(program).passed


def test_an_endless_loop_is_ended_by_the_processors_clock(sandbox, monkeypatch):
    monkeypatch.setattr(bubblewrap, "_WALL", 10_000)
    assert not sandbox.run("while True: pass").passed


def test_memory_ends(sandbox):
    assert not sandbox.run("x = b'x' * 10_000_000_000").passed
    outcome = sandbox.run("try:\n    x = bytearray(2 ** 30)\nexcept MemoryError:\n    print('no')")
    assert (outcome.passed, outcome.output) == (True, "no\n")


def test_threads_and_files_end(sandbox):
    assert sandbox.run(THREADS).output == "True\n"
    assert sandbox.run(DISK).output.split()[1:] == ["True"]
    assert sandbox.run(SHARED_MEMORY).output.strip() == "30"  # a read-only file system


def test_what_is_printed_for_ever_is_cut(sandbox):
    outcome = sandbox.run("while True:\n    print('x' * 1000)")
    assert not outcome.passed
    assert len(outcome.output) <= 64 * 1024


def test_the_hosts_files_are_not_there(sandbox, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    looked = (
        f"import os\nprint([os.path.exists(p) for p in ('/etc/passwd', '/home', {str(secret)!r}, {os.getcwd()!r})])"
    )
    assert sandbox.run(looked).output == "[False, False, False, False]\n"
    listed = sandbox.run("import os\nprint(*sorted(os.listdir('/')), *os.listdir('/tmp'))").output.split()
    assert set(listed) <= {"bin", "dev", "etc", "lib", "lib64", "proc", "tmp", "usr", Path(sys.base_prefix).parts[1]}
    assert sandbox.run("import os\nprint(len(os.environ), os.environ.get('PATH'))").output.split()[1] == "None"


def test_the_network_is_not_there(sandbox):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass  # it can be reached from here
        program = CONNECT % port
        assert sandbox.run(program).output == "no\n"


def test_other_processes_are_not_there(sandbox):
    sandbox.run(KILL % os.getpid())
    assert psutil.pid_exists(os.getppid())
    assert int(sandbox.run("import os\nprint(len([p for p in os.listdir('/proc') if p.isdigit()]))").output) <= 3


def test_the_system_cannot_be_written_and_root_cannot_be_had(sandbox):
    assert sandbox.run(INTERPRETER).output == "kept\n"
    assert sandbox.run(NAMESPACE).output == "-1 -1 -1 True\n"


def test_what_outlives_its_program_is_ended(sandbox):
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1e6)"
    sandbox.run(daemon)
    assert not [p for p in psutil.process_iter(["cmdline"]) if "exec(compile(job" in " ".join(p.info["cmdline"] or [])]


def test_a_program_that_claims_to_have_passed_has_not(sandbox):
    assert not sandbox.run(CLAIM, test="assert False").passed
    assert not sandbox.run("import builtins\nbuiltins.exec = lambda *_: None", test="assert False").passed


def test_text_that_is_none_is_no_program(sandbox):
    for program in ("\0", "\ud800", "def", "x" * 1_000_000):
        assert not sandbox.run(program).passed
    assert sandbox.run("import sys\nsys.stdout.buffer.write(b'\\xff')").output == "\ufffd"
    assert sandbox.run("print(input())", stdin="é\n").output == "é\n"


def test_a_hundred_at_once_leave_nothing(sandbox):
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda i: sandbox.run(f"print({i})"), range(100)))
    assert [outcome.output for outcome in outcomes] == [f"{i}\n" for i in range(100)]


def test_a_sandbox_that_cannot_begin_says_why(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed: Operation not permitted' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Operation not permitted.*runner: URL"):
        Bubblewrap()
    assert subprocess.run(["/bin/true"]).returncode == 0
