"""An append-only file of JSON objects, one a line, each after the CRC-32 of its text.

A torn last line, which a kill or a power cut can leave, is dropped; so is a line that does not match its checksum.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import orjson

from wsiseg import fsio

if TYPE_CHECKING:
    from pathlib import Path


class Journal:
    """A journal with one writer.

    Parameters
    ----------
    path
        The file; made by the first `append`. A torn tail is cut off, so that no line is glued to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[dict[str, Any]] = []
        """What the file held when it was opened."""
        if path.exists():
            self.lines, end = _read(path)
            if end < path.stat().st_size:
                fsio.truncate(path, end)

    def append(self, content: dict[str, Any]) -> None:
        """Write a line and push it to the disk."""
        body = orjson.dumps(content)
        fsio.append_line(self._path, b"%08x %s" % (zlib.crc32(body), body))


def peek(path: Path) -> list[dict[str, Any]]:
    """Give the lines of a journal without touching the file."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Read all whole and undamaged lines; give them and the size up to the last whole one."""
    data = fsio.read(path)
    end = data.rfind(b"\n") + 1
    lines = (_parse(line) for line in data[:end].splitlines())
    return [line for line in lines if line is not None], end


def _parse(line: bytes) -> dict[str, Any] | None:
    """Read one line; None where it is damaged."""
    checksum, _, body = line.partition(b" ")
    try:
        content = orjson.loads(body) if int(checksum, 16) == zlib.crc32(body) else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
