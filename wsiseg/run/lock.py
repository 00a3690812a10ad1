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

    def _try_lock(handle: BinaryIO, *, shared: bool = False) -> None:
        del shared  # Windows knows one kind
        handle.seek(1 << 30)  # a byte far beyond the text, so that others can still read who holds it
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(handle: BinaryIO, *, shared: bool = False) -> None:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


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
    with _held(path) as handle:
        with fsio.explained(path):
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            handle.flush()
        yield


def _held(path: Path) -> BinaryIO:
    """Open the lock's file and take the lock."""
    while True:
        with fsio.explained(path):
            handle = fsio.open_shared(path)
        try:
            _lock(handle, path)
            if _is_at(path, handle):
                return handle
        except BaseException:
            handle.close()
            raise
        handle.close()  # the folder was set aside meanwhile: this was the lock of another one


def _is_at(path: Path, handle: BinaryIO) -> bool:
    """Tell whether the file of a name is the one that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False


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
        handle = open(folder / LOCK_NAME, "rb")  # noqa: SIM115 - closed below
    except OSError:  # none there, or not for our eyes: then nobody can tell
        return False
    with handle:
        try:
            _try_lock(handle, shared=True)  # more than that, some systems grant only to who may write
        except OSError as error:
            return error.errno in _BUSY
    return False


def _refusal(path: Path) -> OutputError:
    holder = path.read_text(errors="replace").strip() or "another process"
    return OutputError(
        "E-LOCKED", f"{holder} works in this folder", where=path.parent, fix="wait for it or choose another -o"
    )
