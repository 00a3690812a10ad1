"""One process at a time in a run directory, by a kernel lock that dies with its process."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from wsiseg import fsio
from wsiseg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_NAME = "LOCK"
PATIENCE_S = 1.0

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: BinaryIO) -> None:
        handle.seek(1 << 30)  # a byte far beyond the text, so that others can still read who holds it
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(handle: BinaryIO) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
_BUSY = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run directory, or refuse.

    A file system without locks (some network mounts) is worked on without one.

    Raises
    ------
    OutputError
        E-LOCKED, naming the process that holds it.
    """
    path = folder / LOCK_NAME
    with fsio.explained(path):
        handle = open(path, "a+b")  # noqa: SIM115 - closed below, after the work that it guards
    with handle:
        _lock(handle, path)
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        handle.flush()
        yield


def _lock(handle: BinaryIO, path: Path) -> None:
    """Take the lock; a second of patience, because `is_locked` holds it for an instant to try it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            _try_lock(handle)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            if error.errno not in _BUSY:
                raise fsio.explain(error, path) from error
        else:
            return
        if time.monotonic() > deadline:
            raise _refusal(path)
        time.sleep(0.05)


def is_locked(folder: Path) -> bool:
    """Tell whether a live process holds the run directory; takes no lock that outlives the call."""
    try:
        with open(folder / LOCK_NAME, "rb+") as handle:
            _try_lock(handle)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in _BUSY
    return False


def _refusal(path: Path) -> OutputError:
    holder = path.read_text(errors="replace").strip() or "another process"
    return OutputError(
        "E-LOCKED", f"{holder} works in this folder", where=path.parent, fix="wait for it or choose another -o"
    )
