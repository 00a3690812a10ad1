"""Work in progress on disk: a block's maps until its neighbours are decoded, its nuclei until the run ends.

A block's maps are one `.npy` of its inferred tiles in row-major order, (n, channels, tile, tile) uint8, so that a
neighbour can map the file and touch just the tiles along the common edge. Two processes may write one file at a
time: each has a partial file of its own, and both hold the same bytes.
"""

from __future__ import annotations

import io
import secrets
import zlib
from typing import TYPE_CHECKING

import numpy as np

from wsiseg import fsio
from wsiseg.nuclei import Nuclei, pixels_from_bytes
from wsiseg.run.board import Board
from wsiseg.run.ledger import MAPS, NUCLEI, Entry
from wsiseg.tiling import Block

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.run.ledger import Ledger
    from wsiseg.run.plan import Layout

_SUFFIXES = {MAPS: ".npy", NUCLEI: ".arrow"}


def _path(work: Path, stage: str, block: str) -> Path:
    return work / stage / f"{block}{_SUFFIXES[stage]}"


def _write(work: Path, stage: str, block: Block, data: bytes | memoryview, facts: dict[str, int]) -> Entry:
    path = _path(work, stage, block.name)
    fsio.write_atomic(path, data, attempt=secrets.token_hex(4))
    return Entry(stage, block.name, zlib.crc32(data), facts)


def is_kept(work: Path, entry: Entry) -> bool:
    """Tell whether a finished block's file is there and is what was recorded."""
    path = _path(work, entry.stage, entry.block)
    return path.is_file() and _crc(path) == entry.crc


def drop_maps(work: Path, block: Block) -> None:
    """Remove a block's maps: everyone who needs them is done."""
    fsio.remove(_path(work, MAPS, block.name))


def recall(work: Path, ledger: Ledger, active: Iterable[Block]) -> tuple[Board, dict[Block, dict[str, int]]]:
    """Find out from the ledger and the files what is already done.

    Returns
    -------
    The board of the active blocks, and the facts of those that are decoded.
    """
    active = tuple(active)
    facts = {}
    for block in active:
        entry = ledger.find(NUCLEI, block)
        if entry is not None and is_kept(work, entry):
            facts[block] = entry.facts

    def is_mapped(block: Block) -> bool:
        entry = ledger.find(MAPS, block)
        return entry is not None and is_kept(work, entry)

    return Board(active, facts, is_mapped), facts


class MapStore:
    """The maps of a run, by block.

    Parameters
    ----------
    work
        The run's working folder.
    channels
        Number of maps.
    """

    def __init__(self, work: Path, layout: Layout, channels: int) -> None:
        self._work = work
        self._layout = layout
        self._channels = channels

    def write(self, block: Block, maps: npt.NDArray[np.uint8]) -> Entry:
        """Write a block's maps, (n, channels, tile, tile) in the order of `Layout.tiles_of`."""
        buffer = io.BytesIO()
        np.save(buffer, maps)
        return _write(self._work, MAPS, block, buffer.getbuffer(), {"tiles": len(maps)})

    def read(self, box: Box) -> npt.NDArray[np.uint8]:
        """Give the maps of a box inside the frame: (channels, height, width), zero where not inferred."""
        out = np.zeros((self._channels, *box.shape), np.uint8)
        side = self._layout.grid.block_px
        for row in range(box.y // side, -(-box.bottom // side)):
            for column in range(box.x // side, -(-box.right // side)):
                self._copy(Block(row, column), box, out)
        return out

    def _copy(self, block: Block, box: Box, out: npt.NDArray[np.uint8]) -> None:
        tiles = self._layout.tiles_of(block)
        if len(tiles) == 0:
            return
        path = _path(self._work, MAPS, block.name)
        with fsio.explained(path):
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        for maps, (row, column) in zip(stored, tiles, strict=True):
            core = self._layout.grid.core(int(row), int(column))
            part = core.intersection(box)
            if part.empty:
                continue
            source = part.moved(-core.x, -core.y).slices
            target = part.moved(-box.x, -box.y).slices
            out[:, target[0], target[1]] = maps[:, source[0], source[1]]


class NucleiStore:
    """The decoded nuclei of a run, by block."""

    def __init__(self, work: Path) -> None:
        self._work = work

    def write(self, block: Block, nuclei: Nuclei, facts: dict[str, int]) -> Entry:
        """Write a block's nuclei, numbered from 1 within the block."""
        return _write(self._work, NUCLEI, block, nuclei.to_bytes(), {"nuclei": len(nuclei), **facts})

    def read(self, block: Block) -> Nuclei:
        """Give a decoded block's nuclei."""
        return Nuclei.from_bytes(self._bytes(block))

    def read_pixels(self, block: Block) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Give what painting a decoded block needs: its nuclei's runs and class values."""
        return pixels_from_bytes(self._bytes(block))

    def _bytes(self, block: Block) -> bytes:
        path = _path(self._work, NUCLEI, block.name)
        with fsio.explained(path):
            return path.read_bytes()


def _crc(path: Path) -> int:
    crc = 0
    with fsio.explained(path), open(path, "rb") as handle:
        while chunk := handle.read(1 << 22):
            crc = zlib.crc32(chunk, crc)
    return crc
