"""A real Slurm of two nodes on this machine: loopback only, every daemon a child of this process and ended by its pid.

Slurm sees CPUs and GPUs that the machine does not have. Needs root, and Debian's slurm-wlm and munge:
`bash scripts/test.sh --cluster` installs them.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from limits import LIMIT
from tiny_models import ROOT

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "munged", "setpriv")
NODES = ("node1", "node2")
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
HOSTS = Path("/etc/hosts")

CONF = """
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=86400
SchedulerParameters=bf_interval=1,batch_sched_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
{nodes}
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime={grace}
PartitionName=urgent Nodes=node1,node2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory=16000 Gres=gpu:{gpus}"
)


def missing() -> str:
    """What this machine lacks for a cluster, in words; empty if nothing."""
    programs = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if programs:
        return f"Slurm is not installed ({', '.join(programs)}): bash scripts/test.sh --cluster installs it for root"
    return "" if os.geteuid() == 0 else "a Slurm of one's own needs root"


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once the condition holds; a failure names what was waited for."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """Two nodes, node1 and node2, in the partitions main and urgent; the second preempts the first by requeueing.

    Args:
        folder: where its configuration, state and logs go.
        cpus, gpus: of each node, as Slurm shall see them.
        task_plugin: "task/affinity" binds processes to CPUs, which must exist then.
        grace: seconds that a preempted job has.
    """

    def __init__(self, folder: Path, cpus: int = 64, gpus: int = 8, task_plugin: str = "task/none", grace: int = 900):
        self.folder, self.daemons = folder, []
        for name in ("state", "log", "munge", *(f"spool/{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        for parent in (folder, *folder.parents):  # munged wants none of them to be writable by others, or sticky
            if parent.stat().st_uid == os.geteuid() and parent.stat().st_mode & 0o011 != 0o011:
                parent.chmod(parent.stat().st_mode | 0o011)
        controller, *ports = free_ports(1 + len(NODES))
        nodes = [NODE.format(name=n, port=p, cpus=cpus, gpus=gpus) for n, p in zip(NODES, ports)]
        facts = {"folder": folder, "controller": controller, "task_plugin": task_plugin, "grace": grace}
        (folder / "slurm.conf").write_text(CONF.format(nodes="\n".join(nodes), **facts))
        for i in range(gpus):
            (folder / f"gpu{i}").touch()
        (folder / "gres.conf").write_text(f"NodeName=node[1-2] Name=gpu File={folder}/gpu[0-{gpus - 1}]\n")
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        # Slurm hands its user's variables on to the jobs, and the threads are what train.sbatch is to find out
        other = ("SLURM", "SBATCH", "OMP_NUM_THREADS")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(other)}
        self.environment["SLURM_CONF"] = str(folder / "slurm.conf")

    def start(self) -> None:
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{k}={munge / v}" for k, v in files.items()))
        wait_until((munge / "socket").exists, "munged")
        with HOSTS.open("a") as file:  # Slurm hands out these names
            file.write(self._names())
        conf = self.environment["SLURM_CONF"]
        self._daemon("slurmctld", "-D", "-f", conf)
        for node in NODES:
            self._daemon("slurmd", "-D", "-f", conf, "-N", node)
        wait_until(lambda: self.run("sinfo", "-hNp", "main", "-o", "%T", check=False).split() == ["idle"] * 2, "nodes")

    def stop(self) -> None:
        self.run("scancel", "--full", "--signal=KILL", "--user=root", check=False)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=30)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        HOSTS.write_text(HOSTS.read_text().replace(self._names(), ""))  # in place: in a container the file is a mount

    def _names(self) -> str:
        return f"127.0.0.1 {' '.join(NODES)} # {self.folder}\n"  # another cluster may need them for longer

    def _daemon(self, *command: str) -> None:
        log = (self.folder / "log" / f"{command[0]}-{len(self.daemons)}").open("w")
        environment = self.environment | {"PATH": f"{self.environment['PATH']}:/usr/sbin"}
        command = ("setpriv", "--pdeathsig", "TERM", *command)  # they do not outlive a test run that is killed
        self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    def run(self, *command: str, check: bool = True, cwd: Path = ROOT, **environment: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            command, cwd=cwd, env=self.environment | environment, capture_output=True, text=True, timeout=LIMIT
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, *arguments: object, cwd: Path = ROOT, **environment: str) -> str:
        """Number of a new job by `sbatch`."""
        log = f"--output={self.folder}/log/job-%j"
        return self.run("sbatch", "--parsable", log, *map(str, arguments), cwd=cwd, **environment)

    def log(self, job: str) -> str:
        path = self.folder / "log" / f"job-{job}"
        return path.read_text(errors="replace") if path.exists() else ""

    def fact(self, job: str, name: str) -> str:
        """A field of `scontrol show job`, such as JobState, Restarts, ExitCode."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))

    def wait_for_log(self, job: str, text: str) -> None:
        def there():
            ended = self.fact(job, "JobState") in OVER
            found = text in self.log(job)
            assert found or not ended, f"job {job} ended without {text!r}: {self.log(job)[-3000:]}"
            return found

        wait_until(there, text)

    def wait(self, job: str, restarts: int = 0) -> str:
        """State of a job when it is over. What was requeued starts at once, instead of after two minutes."""

        def over():
            if self.fact(job, "JobState") in OVER and self.fact(job, "Restarts") >= str(restarts):
                return True
            reason = self.fact(job, "Reason")
            assert "held" not in reason.lower(), f"job {job} is held: {reason}"
            if reason == "BeginTime":
                time.sleep(6)  # the nodes refuse a job whose last start they are still forgetting
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
            return False

        wait_until(over, f"the end of job {job}")
        return self.fact(job, "JobState")
