"""A real SLURM with one node on loopback, for the recipes of workflows/slurm: started for a test, ended with it.

It has its own key, ports and folders and touches no SLURM that may be on the machine. Two partitions: jobs of
`high` preempt jobs of `low`, which are told ten seconds before and queued again.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
START_S = 180
_CPUSET = Path("/sys/fs/cgroup/cpuset")
_HOST = socket.gethostname().split(".")[0]

_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/cgroup
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,preempt_youngest_first
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
UnkillableStepTimeout=300
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=10 DefMemPerCPU=500 State=UP
PartitionName=high Nodes=ALL PriorityTier=2 DefMemPerCPU=500 State=UP
"""
_CGROUPS = """\
CgroupMountpoint=/sys/fs/cgroup
ConstrainCores=yes
"""


def why_not() -> str:
    """Say why there can be no SLURM here; empty if there can."""
    missing = [name for name in PROGRAMS if not _program(name)]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian's slurm-wlm and munge)"
    if os.geteuid() != 0:
        return "slurmd needs root"
    return "" if (_CPUSET / "cgroup.procs").exists() else "cgroups of processors (version 1) are not mounted"


class OneNodeSlurm:
    """The cluster; a context manager. `env` is what its commands and jobs need.

    A job sees only the processors that it was given, as on clusters that know what they do.
    """

    def __init__(self, *, cpus: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short, for the socket's path
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        self.env["SLURM_CONF"] = str(self.folder / "slurm.conf")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._cpus = cpus
        self._node = f"node{secrets.token_hex(4)}"  # names its control groups: other SLURMs may be on this machine

    def __enter__(self) -> OneNodeSlurm:
        try:
            self._configure()
            self._start(
                *("munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key"),
                *(f"--{name}={self.folder}/munge.{end}" for name, end in _MUNGE_FILES.items()),
            )
            _await(lambda: (self.folder / "munge.socket").exists(), "munged")
            self._start("slurmctld", "-D")
            self._start("slurmd", "-D", "-N", self._node)
            _await(lambda: "idle" in self.call("sinfo", "-h", "-o", "%t", check=False), f"SLURM in {self.folder}")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.call("scancel", "--user", getpass.getuser(), check=False)
        deadline = time.monotonic() + START_S
        while self.call("squeue", "-h", check=False) and time.monotonic() < deadline:
            time.sleep(0.5)
        self._stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("uid_*/job_*/step_*", "uid_*/job_*", "uid_*", "system", ""):
            for left in _CPUSET.glob(f"slurm_{self._node}/{name}"):
                with suppress(OSError):  # a process of it is still ending
                    left.rmdir()

    def call(self, *command: str, check: bool = True, **settings) -> str:
        """Run one of SLURM's commands and give what it prints."""
        found = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, **settings)
        assert not check or found.returncode == 0, f"{command}: {found.stdout}{found.stderr}"
        return found.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What SLURM knows of a job: JobState, ExitCode, Restarts, Reason..."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def ended(self, number: str, seconds: float) -> dict[str, str]:
        """Wait until a job has come to its end, whatever it is, and give what SLURM knows of it."""
        _await(lambda: self.job(number)["JobState"] not in _ALIVE, f"job {number}", seconds)
        return self.job(number)

    def _configure(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        content = _CONFIG.format(
            host=_HOST,
            node=self._node,
            user=getpass.getuser(),
            folder=self.folder,
            controller_port=_free_port(),
            node_port=_free_port(),
            cpus=self._cpus,
            memory_mb=psutil.virtual_memory().total // 2**20 - 1,
        )
        (self.folder / "slurm.conf").write_text(content)
        (self.folder / "cgroup.conf").write_text(_CGROUPS)

    def _start(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.out").open("wb") as out:
            command = [_program(program), *arguments]
            self._processes.append(subprocess.Popen(command, env=self.env, stdout=out, stderr=out))

    def _stop(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


_MUNGE_FILES = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
_ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "PREEMPTED", "STOPPED")


def _program(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(true, what: str, seconds: float = START_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what}: not there after {seconds} s"
        time.sleep(0.2)
