"""The append-only record of finished blocks: what a rerun need not do again.

Each line is a JSON object followed by the CRC-32 of its text. A torn last line, which a kill or a power cut can
leave, is dropped; a block whose line is missing or whose file does not match is simply worked again.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from wsiseg import fsio

if TYPE_CHECKING:
    from pathlib import Path

    from wsiseg.tiling import Block


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished piece of work."""

    stage: str
    """`maps` or `nuclei`."""
    block: str
    """The block's name."""
    crc: int
    """CRC-32 of the file written for it."""
    facts: dict[str, Any]
    """Counts that later stages need."""


class Ledger:
    """The ledger of one run directory; safe to use from several threads of one process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Entry] = {}
        self._load()

    def _load(self) -> None:
        if not self._path.exists():
            return
        entries, end = _read(self._path)
        self._entries = {(entry.stage, entry.block): entry for entry in entries}
        if end < self._path.stat().st_size:  # the next line must not be glued to a torn one
            fsio.truncate(self._path, end)

    @classmethod
    def peek(cls, path: Path) -> list[Entry]:
        """Give a ledger's entries, each block once a stage, without touching the file."""
        return list({(entry.stage, entry.block): entry for entry in _read(path)[0]}.values())

    def find(self, stage: str, block: Block) -> Entry | None:
        """Give the entry of a finished block, or None."""
        with self._lock:
            return self._entries.get((stage, block.name))

    def record(self, stage: str, block: Block, crc: int, **facts: Any) -> Entry:  # noqa: ANN401 - JSON values
        """Write that a block is finished. Its file must be on the disk before."""
        entry = Entry(stage, block.name, crc, facts)
        body = orjson.dumps({"stage": stage, "block": block.name, "crc": crc, **facts})
        with self._lock:
            fsio.append_line(self._path, b"%08x %s" % (zlib.crc32(body), body))
            self._entries[stage, block.name] = entry
        return entry


def _read(path: Path) -> tuple[list[Entry], int]:
    """Read all whole and undamaged lines; give them and the size up to the last whole one."""
    with fsio.explained(path):
        data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    entries = (_parse(line) for line in data[:end].splitlines())
    return [entry for entry in entries if entry is not None], end


def _parse(line: bytes) -> Entry | None:
    """Read one line; None where it is damaged."""
    checksum, _, body = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(body):
            return None
        facts = orjson.loads(body)
        return Entry(facts.pop("stage"), facts.pop("block"), facts.pop("crc"), facts)
    except (ValueError, KeyError, AttributeError):
        return None
