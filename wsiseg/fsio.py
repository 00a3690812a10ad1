"""Every file that wsiseg writes, renames or removes goes through here, so a kill never leaves half of one.

A file is complete under its final name or not there at all: it is written under a `.partial` name, flushed to
the disk and renamed. Knows no formats and no run directories.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wsiseg.errors import OutputError, ResourceError, WsisegError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader
    from typing import TypeVar

    T = TypeVar("T")

PARTIAL = ".partial"
"""Ending of anything that is not finished."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_PASSING = {errno.EIO, errno.ESTALE} if hasattr(errno, "ESTALE") else {errno.EIO}
_PAUSES_S = (0.1, 0.3, 0.9)
"""Waits before a read that failed is tried again: what a server or a cable takes to come back."""


def explain(error: OSError, where: Path) -> WsisegError:
    """Turn an operating system's refusal into an error of ours."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        free = free_bytes(where)
        return ResourceError(
            "E-NOSPACE",
            f"the disk is full ({reason})",
            where=f"{where}, {free / 1e6:.0f} MB free",
            fix="free some space and run the same command again; finished work is kept",
        )
    if error.errno in _DENIED:
        return OutputError("E-OUT-READONLY", f"cannot write ({reason})", where=where, fix="choose another -o")
    return ResourceError("E-IO", f"the system refused ({reason})", where=where, fix="run the command again")


@contextmanager
def explained(where: Path) -> Iterator[None]:
    """Let an `OSError` inside leave as one of our errors, naming the place.

    Raises
    ------
    ResourceError, OutputError
        With E-NOSPACE, E-OUT-READONLY or E-IO.
    """
    try:
        yield
    except OSError as error:
        raise explain(error, where) from error


def free_bytes(where: Path) -> int:
    """Give the free space of the disk on which a path lies or would lie."""
    while not where.exists() and where != where.parent:
        where = where.parent
    return shutil.disk_usage(where).free


def flush(handle: BinaryIO) -> None:
    """Push what was written to a file down to the disk itself."""
    handle.flush()
    os.fsync(handle.fileno())


def flush_folder(folder: Path) -> None:
    """Push a folder's entries (new and renamed names) to the disk, where the system can."""
    if os.name == "nt":  # Windows opens no folders; its renames are ordered by the file system
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_name(path: Path) -> Path:
    """Give the name that a file or folder carries until it is finished."""
    return path.with_name(path.name + PARTIAL)


def write_atomic(path: Path, *chunks: bytes | memoryview, attempt: str = "") -> None:
    """Write a whole file so that it is there completely or not at all, even after a power cut.

    Where several processes may write the same file, each gives an `attempt` of its own, so that none renames what
    another is still writing.
    """
    temporary = partial_name(path.with_name(f"{path.name}.{attempt}") if attempt else path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_new(temporary) as handle:
                for chunk in chunks:
                    handle.write(chunk)
                flush(handle)
            os.replace(temporary, path)
        except BaseException:  # on a full disk the half of a file would be in the way of the next attempt
            with suppress(OSError):
                temporary.unlink()
            raise
        flush_folder(path.parent)


def open_new(path: Path) -> BinaryIO:
    """Open a file for writing that is new: what a kill left under its name is removed, a link not followed."""
    path.unlink(missing_ok=True)
    return open(path, "xb")


def open_shared(path: Path) -> BinaryIO:
    """Open a file that several processes may hold and each may write; a link is not followed."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "rb+")


def append_line(path: Path, line: bytes) -> None:
    """Append one line (without its newline) to a log and push it to the disk."""
    with explained(path):
        begun = path.exists()
        with open(path, "ab") as handle:
            handle.write(line + b"\n")
            flush(handle)
        if not begun:
            flush_folder(path.parent)


def truncate(path: Path, size: int) -> None:
    """Cut a log after `size` bytes: what lies beyond is a torn line."""
    with explained(path), open(path, "r+b") as handle:
        handle.truncate(size)
        flush(handle)


def flush_files(path: Path) -> None:
    """Push a file, or all files of a folder and their names, to the disk."""
    with explained(path):
        for file in files_below(path):
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())
        for folder, _, _ in os.walk(path):
            flush_folder(Path(folder))


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file or folder its final name.

    Its files are flushed first, so that the name never points at content that a power cut could lose.
    """
    flush_files(temporary)
    with explained(final):
        os.replace(temporary, final)
        flush_folder(final.parent)


def rename(path: Path, new: Path) -> None:
    """Give a folder another name beside it."""
    with explained(path):
        path.rename(new)
        flush_folder(new.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder that wsiseg made; nothing happens where there is none.

    Callers name only paths of the run's own inventory; a link is removed, never followed.
    """
    with explained(path):
        if path.is_dir() and not path.is_symlink():
            _remove_folder(path)
        else:
            with suppress(FileNotFoundError):
                path.unlink()


def _remove_folder(path: Path) -> None:
    """Remove a folder, also where a process that nobody waits for any more writes its last file into it."""
    for pause in _PAUSES_S:
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(pause)
    shutil.rmtree(path)


def files_below(path: Path) -> list[Path]:
    """Give all regular files of a folder in a stable order, or the file itself."""
    if not path.is_dir():
        return [path]
    found = [Path(root) / name for root, _, names in os.walk(path) for name in names]
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def read(path: Path) -> bytes:
    """Give a file's bytes."""
    return _patiently(path, lambda handle: handle.read())


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, as hexadecimal digits."""
    return _patiently(path, lambda handle: hashlib.file_digest(handle, "sha256").hexdigest())


def crc32_of(path: Path) -> int:
    """Give the CRC-32 of a file's bytes."""
    return _patiently(path, _crc32)


def _crc32(handle: BinaryIO) -> int:
    crc = 0
    while chunk := handle.read(1 << 22):
        crc = zlib.crc32(chunk, crc)
    return crc


def _patiently(path: Path, use: Callable[[BufferedReader], T]) -> T:
    """Read a file, again after a pause where a disk or a server faltered: what it holds is not yet lost."""
    with explained(path):
        for pause in _PAUSES_S:
            try:
                return _opened(path, use)
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
            time.sleep(pause)
        return _opened(path, use)


def _opened(path: Path, use: Callable[[BufferedReader], T]) -> T:
    with open(path, "rb") as handle:
        return use(handle)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a whole file that may come from a stranger.

    Raises
    ------
    OSError
        There is none, it cannot be read, is a pipe or a device, or is larger than `max_bytes`; the reason is the
        error's `strerror`.
    """
    # Without this flag, opening a pipe waits until somebody writes into it.
    no_wait = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_wait)) as handle:
        facts = os.fstat(handle.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        # One byte more, in case the file grows; a file that is too large is not read at all.
        data = handle.read(facts.st_size + 1) if facts.st_size <= max_bytes else b""
    if max(len(data), facts.st_size) > max_bytes:
        raise OSError(errno.EFBIG, f"the file is larger than {max_bytes:,} bytes")
    return data
