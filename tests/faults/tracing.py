"""strace: which system calls a run makes on its files, and how to make one of them fail or kill the run.

strace counts calls by thread, so a point is a family of calls, a path and a count in its thread. Where two threads
come to one path, the one that counts so far first is met.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from faults.bench import Bench

FAMILIES = {
    "rename": ("rename", "renameat", "renameat2"),
    "fsync": ("fsync", "fdatasync"),
    "write": ("write", "pwrite64", "writev"),
    "openat": ("openat",),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "mkdir": ("mkdir", "mkdirat"),
    "ftruncate": ("ftruncate",),
}
"""Families of system calls that change what lies on a disk."""

_CALL = re.compile(r"^(?P<thread>\d+) +(?P<name>[a-z0-9]+)\((?P<arguments>.*)$")
_PATH = re.compile(r'<(/[^<>]*)>|"(/[^"]*)"')


@dataclass(frozen=True, order=True)
class Point:
    """The nth call of a family on a path, in some thread."""

    family: str
    path: str
    number: int

    def inject(self, what: str) -> list[str]:
        """Give strace's options that do something at this point: `signal=SIGKILL` or `error=ENOSPC`."""
        calls = ",".join(FAMILIES[self.family])
        return ["-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={self.number}", "-P", self.path]


@cache
def why_not() -> str:
    """Say why calls cannot be traced here; empty if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else "the system lets no process trace another"


def points_of(bench: Bench) -> list[Point]:
    """Trace an undisturbed run; give its points in the order in which it came to them."""
    log = bench.folder / "trace"
    bench.clear()
    families = ",".join(name for names in FAMILIES.values() for name in names)
    traced(bench, ["-y", "-s", "0", "-e", f"trace={families}"], log)
    of = {name: family for family, names in FAMILIES.items() for name in names}
    counts: Counter[tuple[str, str, str]] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        call = _CALL.match(line)
        if call is None or call["name"] not in of:
            continue
        family = of[call["name"]]
        paths = ["".join(pair) for pair in _PATH.findall(call["arguments"].rsplit(" = ", 1)[0])]
        inside = [path for path in paths if path == str(bench.out) or path.startswith(f"{bench.out}/")]
        if not inside:
            continue
        path = inside[0]  # of a rename strace looks at the old name only
        counts[call["thread"], family, path] += 1  # those that fail or only read count for strace too
        if "O_RDONLY" not in line and " = -1 " not in line:
            found.append(Point(family, path, counts[call["thread"], family, path]))
    bench.clear()
    return found


def traced(bench: Bench, options: list[str], log: Path | None = None) -> int:
    """Make or continue a run under strace; give its exit status, negative for a signal."""
    gate, said = bench.folder / "gate", bench.folder / "said"
    gate.unlink(missing_ok=True)
    process = bench.begin(gate)
    where = ["-o", str(log)] if log else ["-o", "/dev/null"]
    with said.open("w") as messages:
        tracer = subprocess.Popen(["strace", "-f", *where, *options, "-p", str(process)], stderr=messages)
        while "attached" not in said.read_text() and tracer.poll() is None:
            time.sleep(0.005)
        gate.touch()
        status = bench.end()
        tracer.wait()
    return status
