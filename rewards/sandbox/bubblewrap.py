"""Programs in bubblewrap: no network, no home, a read-only system; limits on time, memory, processes and output."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
_INSIDE = Path(__file__).with_name("inside.py")
_WALL = 10  # seconds of the clock for each of a processor: what waits for a busy machine has done nothing wrong
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: of a processor, for each of its processes; of the clock ten times as many.
        memory: MiB of address space of each process.
        processes: at once, threads included.
        output: KiB of what it prints, and of each file that it writes.
        disk: MiB of all files that it writes, which lie in memory and go with it.
    """

    seconds: int = 5
    memory: int = 512
    processes: int = 16
    output: int = 256
    disk: int = 16

    def of_process(self) -> dict[str, int]:
        """Limits as the system names them (RLIMIT_*)."""
        return {
            "CPU": self.seconds,
            "AS": self.memory * MIB,
            "NPROC": self.processes,
            "FSIZE": self.output * 1024,
            "NOFILE": 64,
            "CORE": 0,
        }


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        passed: it ended with status 0, and where there was a test, that has passed.
        output: what it printed, as far as the limit allows, bytes that are no text replaced.
    """

    passed: bool
    output: str


class Bubblewrap:
    """Runs Python programs in a sandbox of their own each.

    A program sees the system's libraries and the Python that runs this, without installed packages, and an empty /tmp.
    It sees no other file, process or network of the machine. Where this process is root's, the program runs as a user
    without a name, since root is exempt from the limit on processes.

    Args:
        limits: of each program.

    Raises:
        RuntimeError: bubblewrap is not installed, or cannot be used here. A program is never run without it.
    """

    def __init__(self, limits: Limits | None = None):
        self.limits = limits or Limits()
        found = shutil.which("bwrap")
        if found is None:
            raise RuntimeError(
                "Programs of a model are run in bubblewrap only, and it is not installed: apt-get install bubblewrap "
                "(Debian, Ubuntu), dnf install bubblewrap (Fedora); or name a machine that runs them, runner: URL."
            )
        self._command = [found, *self._view()]
        outcome = self.run("print(6 * 7)")  # raises if it cannot be used at all
        if outcome.output != "42\n":
            raise RuntimeError(f"bubblewrap runs here, but a program that prints 42 printed {outcome.output!r}.")

    def _view(self) -> list[str]:
        """The arguments that say what a program sees, and what it is."""
        spaces = ["ipc", "pid", "net", "uts", "cgroup"]
        caps = ["--cap-drop", "ALL"]
        if os.geteuid() == 0:
            caps += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # to give up root inside
        else:
            spaces.append("user")
        view = [f"--unshare-{space}" for space in spaces]
        view += ["--die-with-parent", "--new-session", "--clearenv", *caps, "--ro-bind", "/usr", "/usr"]
        for name in ("lib", "lib64", "bin"):
            path = Path("/", name)
            if path.is_symlink():
                view += ["--symlink", os.readlink(path), str(path)]
            elif path.is_dir():
                view += ["--ro-bind", str(path), str(path)]
        prefix = Path(sys.base_prefix).resolve()
        if Path("/usr") not in (prefix, *prefix.parents):
            for parent in reversed(prefix.parents[:-1]):  # made there, empty, and to be passed by the program's user
                view += ["--perms", "0755", "--dir", str(parent)]
            view += ["--ro-bind", str(prefix), str(prefix)]
        view += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc"]
        view += ["--dev", "/dev", "--remount-ro", "/dev"]  # /dev/shm would be memory without a limit
        view += ["--size", str(self.limits.disk * MIB), "--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp"]
        for name, value in {"HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}.items():
            view += ["--setenv", name, value]
        python = prefix / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        return [*view, "--", str(python), "-I", "-S", "-B", "-c", _INSIDE.read_text(encoding="utf-8")]

    def run(self, program: str, test: str | None = None, stdin: str = "") -> Outcome:
        """Run a program, alone or with a test.

        Args:
            program: its text.
            test: code that runs after it with its names, and raises if they are wrong; what the program has under
                `if __name__ == "__main__"` does not run then.
            stdin: what it can read.

        Raises:
            RuntimeError: the sandbox did not begin; that says nothing of the program.
        """
        token = secrets.token_hex(16)
        uid = 20_000 + (os.getpid() * 64 + next(_NUMBERS)) % 40_000 if os.geteuid() == 0 else None
        job = {"program": program, "test": test, "token": token, "uid": uid, "limits": self.limits.of_process()}
        with _file(json.dumps(job)) as jobs, _file() as verdict, _file(stdin) as given, _file() as out, _file() as err:
            process = subprocess.Popen(
                [*self._command, str(jobs.fileno()), str(verdict.fileno())],
                stdin=given,
                stdout=out,
                stderr=err,
                pass_fds=(jobs.fileno(), verdict.fileno()),
            )
            try:
                status = process.wait(_WALL * self.limits.seconds)
            except subprocess.TimeoutExpired:
                status = -1
            finally:
                process.kill()  # all that it started goes with it
                process.wait()
            said, printed = (_text(file) for file in (verdict, out))
            if not said.startswith("begun"):
                raise RuntimeError(
                    f"bubblewrap could not begin here: {_text(err).strip() or 'no word'}. It needs namespaces, which "
                    "a container may forbid: allow them, or name a machine that runs programs, runner: URL."
                )
        passed = status == 0 and (test is None or said.endswith(token))
        return Outcome(passed, printed)


def _file(text: str = ""):
    """An unnamed file, which nothing is left of, with this text and its position at the beginning."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(text.encode("utf-8", "replace"))
    file.seek(0)
    return file


def _text(file) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
