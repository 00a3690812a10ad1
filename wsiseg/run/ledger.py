"""The record of a run's finished blocks: what a rerun need not do again.

A block whose line is missing or whose file does not match is simply worked again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsiseg.run.journal import Journal, peek

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsiseg.tiling import Block

MAPS = "maps"
NUCLEI = "nuclei"
"""The stages of a block."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished piece of work: its file is on the disk."""

    stage: str
    """`maps` or `nuclei`."""
    block: str
    """The block's name."""
    crc: int
    """CRC-32 of the file written for it."""
    facts: dict[str, int]
    """Counts that later stages need."""
    lost: tuple[tuple[int, int], ...] = ()
    """(row, column) of the block's tiles that could not be read; known with its maps."""


class Ledger:
    """The ledger of one run directory; safe to use from several threads of the one process that writes it."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._journal = Journal(path)
        self._entries: dict[tuple[str, str], Entry] = {}
        self._lost: dict[str, tuple[tuple[int, int], ...]] = {}
        for entry in _entries(self._journal.lines):
            self._keep(entry)

    @classmethod
    def peek(cls, path: Path) -> list[Entry]:
        """Give a ledger's entries, each block once a stage, without touching the file."""
        return list({(entry.stage, entry.block): entry for entry in _entries(peek(path))}.values())

    def find(self, stage: str, block: Block) -> Entry | None:
        """Give the entry of a finished block, or None."""
        with self._lock:
            return self._entries.get((stage, block.name))

    def lost_tiles(self) -> tuple[tuple[int, int], ...]:
        """Give (row, column) of all tiles that could not be read, row by row."""
        with self._lock:
            return tuple(sorted(tile for tiles in self._lost.values() for tile in tiles))

    def record(self, entry: Entry) -> None:
        """Write that a block is finished."""
        line: dict[str, Any] = {"stage": entry.stage, "block": entry.block, "crc": entry.crc, **entry.facts}
        if entry.lost:
            line["lost"] = entry.lost
        with self._lock:
            self._journal.append(line)
            self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self._entries[entry.stage, entry.block] = entry
        if entry.lost or (entry.stage == MAPS and entry.block in self._lost):
            self._lost[entry.block] = entry.lost


def _entries(lines: Iterable[dict[str, Any]]) -> Iterable[Entry]:
    for line in lines:
        stage, crc = line.get("stage"), line.get("crc")
        try:
            lost = tuple((int(row), int(column)) for row, column in line.get("lost", ()))
        except (TypeError, ValueError):
            continue
        if stage in (MAPS, NUCLEI) and isinstance(crc, int):
            yield Entry(stage, str(line.get("block")), crc, _facts(line), lost)


def _facts(line: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in line.items() if name != "crc" and isinstance(value, int)}
