"""One process that has imported torch, transformers and TRL, and copies of it in place of Python for torchrun.

An entry script needs 5 seconds of a core to import what it stands on, in each of its processes, and the tests start
some seventy processes. torchrun takes what it runs a script with from the variable PYTHON_EXEC. Here that is a small
client, which asks the server of this test session for a copy of itself (os.fork), lends it its own output, passes
signals on to it and ends as it ends. The launcher, its environment, the script and its arguments are the real ones.

    preloaded.py SERVER_SOCKET      the server; it ends with the process that started it
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHILDREN = "PRELOADED_CHILDREN"  # variable: what a copy takes for Python, so that processes that it starts are copies
Task = tuple[str, list[str], dict[str, str]]  # the folder, the script with its arguments, the environment
CLIENT = r"""#!%s -IS
import json, os, signal, socket, sys
if sys.argv[1] not in ("-u", "-m") and sys.argv[1].startswith("-"):  # no script and no module
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect(os.environ["PRELOADED"])
words = sys.argv[2:] if sys.argv[1] == "-u" else sys.argv[1:]
data = json.dumps([os.getcwd(), words, dict(os.environ)]).encode()
socket.send_fds(server, [len(data).to_bytes(8, "big")], [0, 1, 2])
server.sendall(data)
pid = int.from_bytes(server.recv(8), "big")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
status = server.recv(8)
code = os.waitstatus_to_exitcode(int.from_bytes(status, "big")) if status else 1
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@functools.cache
def variables() -> dict[str, str]:
    """What lets torchrun start copies of a server, which is started by the first call."""
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    client, address = folder / "python", str(folder / "server")
    client.write_text(CLIENT % sys.executable)
    client.chmod(0o700)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, address]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
    assert b"ready\n" in iter(server.stdout.readline, b""), "the server died"  # libraries write there before it
    atexit.register(server.stdin.close)  # which ends it
    return {"PYTHON_EXEC": str(client), "PRELOADED": address}


def exactly(connection: socket.socket, n: int) -> bytes:
    """The next n bytes."""
    data = b""
    while len(data) < n:
        part = connection.recv(n - len(data))
        if not part:
            raise ConnectionError("the client has gone")
        data += part
    return data


class Server:
    """Answers clients. `copy` returns in the copies alone."""

    def __init__(self, address: str):
        self.folder = Path(address).parent  # made for it, and gone with it
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.children: dict[int, socket.socket] = {}
        self.woken, self.wake = socket.socketpair()  # a signal that a copy has ended wakes the selector
        self.woken.setblocking(False)
        self.wake.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.watched = selectors.DefaultSelector()
        for source in (0, self.woken, self.listener):
            self.watched.register(source, selectors.EVENT_READ)

    def copy(self) -> Task:
        """Make copies as clients ask for them, until the input of this process is closed. Returns what a copy does."""
        while True:
            for key, _ in self.watched.select():
                if key.fileobj == 0:
                    for pid in self.children:
                        os.kill(pid, signal.SIGKILL)
                    shutil.rmtree(self.folder, ignore_errors=True)
                    os._exit(0)
                elif key.fileobj is self.woken:
                    self.woken.recv(4096)
                    self.tell_ends()
                elif key.fileobj is self.listener:
                    if task := self.fork():
                        return task
                elif key.data in self.children:  # a client says no second word: it was killed
                    os.kill(key.data, signal.SIGKILL)
                    self.watched.unregister(key.fileobj)

    def tell_ends(self) -> None:
        """Tell the clients of copies that have ended how they ended."""
        for pid in list(self.children):
            if (ended := os.waitpid(pid, os.WNOHANG))[0]:
                client = self.children.pop(pid)
                with contextlib.suppress(KeyError):
                    self.watched.unregister(client)
                answer(client, ended[1])
                client.close()

    def fork(self) -> Task | None:
        """A copy for the next client; what it has to do, in the copy."""
        client, _ = self.listener.accept()
        length, files, _, _ = socket.recv_fds(client, 8, 3)
        try:
            task = json.loads(exactly(client, int.from_bytes(length, "big")))
        except (ConnectionError, ValueError):  # it was killed before it had said what it wants
            for file in (client.detach(), *files):
                os.close(file)
            return None
        if pid := os.fork():
            answer(client, pid)
            self.children[pid] = client
            self.watched.register(client, selectors.EVENT_READ, pid)
        else:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, file in enumerate(files):
                os.dup2(file, number)
            for one in (self.watched, self.listener, self.woken, self.wake, client, *self.children.values()):
                one.close()
        for file in files:
            os.close(file)
        return None if pid else task


def answer(client: socket.socket, number: int) -> None:
    """Tell a client a number, unless it has gone."""
    with contextlib.suppress(OSError):
        client.sendall(number.to_bytes(8, "big"))


def become(folder: str, words: list[str], environment: dict[str, str]) -> None:
    """Run a script, or with -m a module, as a new Python would: with its arguments, environment, folder and path."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    own = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    first = folder if words[0] == "-m" else str(Path(words[0]).resolve().parent)
    sys.path[:] = [first, *own, *(p for p in sys.path[1:] if p not in own)]
    sys.argv[:] = words[words[0] == "-m" :]
    sys.executable = environment.get(CHILDREN, sys.executable)
    importlib.invalidate_caches()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    sys.path.insert(1, str(ROOT))
    for name in ("train.ppo_endorm", "train.grpo_endorm", "deepspeed", "math_verify"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a copy need not search for garbage in what it stands on, as TRL does after a training
    server = Server(sys.argv[1])
    print("ready", flush=True)
    become(*server.copy())
