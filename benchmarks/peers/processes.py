"""A command from the shell, watched: its seconds, and the most memory that all its processes held together."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOOK_S = 0.5
_LOG_CHARACTERS = 3000


@dataclass(frozen=True, slots=True)
class Watched:
    """What a command took, and what it said."""

    seconds: float
    peak_bytes: int
    """Of what its processes hold for themselves, and once what they share (PSS)."""
    output: str
    """Its standard output."""


def watch(command: Sequence[str], environment: Mapping[str, str]) -> Watched:
    """Run a command to its end, with variables added to the environment.

    Raises
    ------
    RuntimeError
        It failed; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "wb") as log:
        started, most = time.perf_counter(), 0
        with open(Path(folder) / "out", "wb") as out:
            process = psutil.Popen(command, stdout=out, stderr=log, env={**os.environ, **environment})
        while True:
            try:
                process.wait(LOOK_S)
                break
            except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
                most = max(most, _memory(process))
        seconds = time.perf_counter() - started
        output, said = ((Path(folder) / name).read_text(errors="replace") for name in ("out", "log"))
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}\nended with {process.returncode}:\n{said[-_LOG_CHARACTERS:]}")
    return Watched(seconds, most, output)


def _memory(process: psutil.Process) -> int:
    try:
        family = [process, *process.children(recursive=True)]
        return sum(one.memory_full_info().pss for one in family)
    except psutil.Error:  # one ended while it was looked at
        return 0
