"""What this process may use of the machine: cores and memory, as granted and not as installed."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Give the cores this process may use: the least of its affinity, its SLURM grant and its cgroup quota."""
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # Linux
        limits.append(len(os.sched_getaffinity(0)))
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit():
        limits.append(int(granted))
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(quota)
    return max(min(limits), 1)


def available_bytes() -> int:
    """Give the memory that can still be had: the machine's, or what is left of the cgroup's limit."""
    available = int(psutil.virtual_memory().available)
    limit, used = _cgroup_number("memory.max"), _cgroup_number("memory.current")
    if limit is not None and used is not None:
        available = min(available, max(limit - used, 0))
    return available


def glibc() -> Any:  # noqa: ANN401 - a C library has no types
    """Give the C library if it is glibc, whose allocator can be told what to keep; None elsewhere."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


def give_back_memory() -> None:
    """Return freed memory to the system; worth it between blocks, ruinous between layers of a network."""
    library = glibc()
    if library is not None:
        library.malloc_trim(0)


def _cgroup_quota() -> int | None:
    """Whole cores of a cgroup v2 quota, rounded up; None where there is none."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return max(-(-int(quota) // int(period)), 1)
    except (OSError, ValueError):  # no cgroup v2 here, or "max"
        return None


def _cgroup_number(name: str) -> int | None:
    try:
        return int((_CGROUP / name).read_text())
    except (OSError, ValueError):
        return None
