"""Where the work is done: workers started on this machine, or any running Dask cluster.

On this machine every worker process drives one device and, beside it, does tasks for the CPU; what it may use of
the machine is shared out among the workers, so that nothing oversubscribes.
"""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.versions import VersionMismatchWarning

from wsiseg.cohort.tasks import DEVICE_SLOTS
from wsiseg.errors import ResourceError, SettingsError
from wsiseg.host import allow_open_files, usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = "local"
_CONNECT_S = 30
_PINNED = "CUDA_VISIBLE_DEVICES"
_QUIET: dict[str, Any] = {
    # A worker that dies is counted by us, slide by slide; Dask must not repeat what killed it behind our back.
    "distributed.scheduler.allowed-failures": 0,
    # A worker that is started anew is waited for, however slow the machine is: Dask would end it after 15 s.
    "distributed.deploy.lost-worker-timeout": "365d",
    # Tasks hold their data in memory of torch and numpy, which Dask neither counts nor can spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    # Dask would have glibc give back every freed page at once, and decoding would page it in again.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.worker.profile.enabled": False,  # it looks at every thread a hundred times a second
    "distributed.admin.low-level-log-length": 50,  # of messages kept whole, for each worker: 5 MB at Dask's 1000
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.limit": "1h",  # no warnings about a busy interpreter
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


@dataclass(frozen=True)
class Share:
    """What one worker on this machine gets."""

    threads: int
    """Cores."""
    device: str = ""
    """What `CUDA_VISIBLE_DEVICES` is set to; empty where there is no GPU."""

    @property
    def cpu_slots(self) -> int:
        """Tasks beside the network; decoding takes a fraction of the network's time."""
        return max(self.threads // 2, 1)


def local_shares(device: str, workers: int | None) -> list[Share]:
    """Share out this machine: a worker a GPU, or `workers` workers on the CPU.

    Raises
    ------
    SettingsError
        E-DEVICE: no such device; E-USAGE: more workers than GPUs.
    """
    cores = usable_cores()
    names = ["cpu"] if device == "cpu" else _devices(device)
    if not names[0].startswith("cuda"):
        count = workers or 1
        return [Share(max(cores // count, 1))] * count
    count = workers or len(names)
    if count > len(names):
        raise SettingsError("E-USAGE", f"--workers {count} is more than there are GPUs: {len(names)}")
    visible = os.environ.get(_PINNED, "").split(",") if os.environ.get(_PINNED) else None
    indices = [int(name.partition(":")[2]) for name in names[:count]]
    return [Share(max(cores // count, 1), visible[i].strip() if visible else str(i)) for i in indices]


def _devices(device: str) -> list[str]:
    from wsiseg.models.devices import list_devices  # torch is imported only where it is asked about devices

    return list_devices(device)


def device_on_workers(scheduler: str, device: str) -> str:
    """Give the device as workers know it: each of ours sees one GPU only."""
    return "cuda" if scheduler == LOCAL and device.startswith("cuda") else device


@contextmanager
def connected(scheduler: str, device: str, workers: int | None) -> Iterator[Client]:
    """Give a client of the workers; those that were started here end with it.

    Parameters
    ----------
    scheduler
        `local`, a scheduler's address, or the path of its file.

    Raises
    ------
    ResourceError
        E-SCHEDULER: no scheduler answers, or a worker that is started here dies at once.
    SettingsError
        As for `local_shares`; E-USAGE: workers of a running cluster are not ours to count.
    """
    if scheduler != LOCAL and workers is not None:
        raise SettingsError("E-USAGE", "--workers is for --scheduler local; start more workers on the cluster")
    allow_open_files()  # a lock for each slide that is begun, a socket for each worker
    with dask.config.set(_QUIET), _silent(), warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # versions are checked and refused by us
        if scheduler == LOCAL:
            with (
                _local_cluster(local_shares(device, workers)) as cluster,
                _client(cluster.scheduler_address) as client,
            ):
                yield client
        else:
            with _client(scheduler) as client:
                yield client


@contextmanager
def _silent() -> Iterator[None]:
    """Let Dask log nothing meanwhile: what it would say is said by our errors, in one line."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("distributed", "tornado")]
    chatty = [logging.getLogger(name) for name in names if not logging.getLogger(name).disabled]
    for logger in chatty:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in chatty:
            logger.disabled = False


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    file = Path(scheduler)
    try:
        if file.suffix == ".json" and not file.is_file():
            raise FileNotFoundError("there is no such scheduler file")
        where = {"scheduler_file": scheduler} if file.is_file() else {"address": scheduler}
        client = Client(**where, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ResourceError(
            "E-SCHEDULER",
            f"no Dask scheduler answers ({error})",
            where=scheduler,
            fix="give its address, as tcp://host:8786, or the path of its --scheduler-file",
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=5)


@contextmanager
def _local_cluster(shares: list[Share]) -> Iterator[SpecCluster]:
    """Start workers on loopback: a process each, without a dashboard."""
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"},
    }
    workers = {number: {"cls": Nanny, "options": _options(share)} for number, share in enumerate(shares)}
    try:
        cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL + 1)
    except RuntimeError as error:  # a worker died before it had begun
        raise ResourceError(
            "E-SCHEDULER",
            f"a worker does not start on this machine ({error})",
            fix="close other programs or give fewer --workers, then run the same command again",
        ) from error
    try:
        yield cluster
    finally:
        cluster.close(timeout=10)


def _options(share: Share) -> dict[str, Any]:
    bounds = {"ZARR_THREADING__MAX_WORKERS": str(share.threads)}  # Dask itself bounds BLAS and OpenMP
    return {
        "nthreads": DEVICE_SLOTS + share.cpu_slots,
        "resources": {"device": 1, "cpu": share.cpu_slots, "threads": share.threads},
        "host": "127.0.0.1",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,
        "silence_logs": logging.CRITICAL + 1,
        "preload": "wsiseg.cohort.tasks",
        "env": bounds | ({_PINNED: share.device} if share.device else {}),
    }
