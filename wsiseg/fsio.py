"""Every file that wsiseg writes, renames or removes goes through here, so a kill never leaves half of one.

A file is complete under its final name or not there at all: it is written under a `.partial` name, flushed to
the disk and renamed. Knows no formats and no run directories.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wsiseg.errors import OutputError, ResourceError, WsisegError

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTIAL = ".partial"
"""Ending of anything that is not finished."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain(error: OSError, where: Path) -> WsisegError:
    """Turn an operating system's refusal into an error of ours."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        free = _free_bytes(where)
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


def _free_bytes(where: Path) -> int:
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
        with open(temporary, "wb") as handle:
            for chunk in chunks:
                handle.write(chunk)
            flush(handle)
        os.replace(temporary, path)
        flush_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Append one line (without its newline) to a log and push it to the disk."""
    with explained(path), open(path, "ab") as handle:
        handle.write(line + b"\n")
        flush(handle)


def truncate(path: Path, size: int) -> None:
    """Cut a log after `size` bytes: what lies beyond is a torn line."""
    with explained(path), open(path, "r+b") as handle:
        handle.truncate(size)
        flush(handle)


def flush_files(path: Path) -> None:
    """Push a file, or all files of a folder, to the disk."""
    with explained(path):
        for file in files_below(path):
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file or folder its final name.

    Its files are flushed first, so that the name never points at content that a power cut could lose.
    """
    flush_files(temporary)
    with explained(final):
        os.replace(temporary, final)
        flush_folder(final.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder that wsiseg made; nothing happens where there is none.

    Callers name only paths of the run's own inventory; a link is removed, never followed.
    """
    with explained(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            with suppress(FileNotFoundError):
                path.unlink()


def files_below(path: Path) -> list[Path]:
    """Give all regular files of a folder in a stable order, or the file itself."""
    if not path.is_dir():
        return [path]
    found = [Path(root) / name for root, _, names in os.walk(path) for name in names]
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, as hexadecimal digits."""
    with explained(path), open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
