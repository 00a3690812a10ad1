"""Work in progress on disk: a block's maps until its neighbours are decoded, its nuclei until the run ends.

A block's maps are one `.npy` of its inferred tiles in row-major order, (n, channels, tile, tile) uint8, so that a
neighbour reads just the tiles along the common edge. Two processes may write one file at a
time: each has a partial file of its own, and both hold the same bytes.
"""

from __future__ import annotations

import errno
import io
import secrets
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from wsiseg import fsio
from wsiseg.errors import ResourceError
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


def _write(work: Path, stage: str, block: Block, data: bytes | memoryview) -> int:
    """Write a block's file; give its CRC-32."""
    path = _path(work, stage, block.name)
    if not work.is_dir():  # it was made when the run began: what somebody deleted is not made again
        raise ResourceError("E-IO", "the run directory is gone", where=work, fix="run the same command again")
    fsio.write_atomic(path, data, attempt=secrets.token_hex(4))
    return zlib.crc32(data)


def is_kept(work: Path, entry: Entry) -> bool:
    """Tell whether a finished block's file is there and is what was recorded."""
    path = _path(work, entry.stage, entry.block)
    return path.is_file() and fsio.crc32_of(path) == entry.crc


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
        # Which of the block's tiles were lost stands in the line of its maps.
        if entry is not None and ledger.find(MAPS, block) is not None and is_kept(work, entry):
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

    def write(self, block: Block, maps: npt.NDArray[np.uint8], lost: tuple[tuple[int, int], ...] = ()) -> Entry:
        """Write a block's maps.

        Parameters
        ----------
        maps
            (n, channels, tile, tile) in the order of `Layout.tiles_of`.
        lost
            (row, column) of the tiles that could not be read; their maps are 0.
        """
        buffer = io.BytesIO()
        np.save(buffer, maps)
        crc = _write(self._work, MAPS, block, buffer.getbuffer())
        return Entry(MAPS, block.name, crc, {"tiles": len(maps)}, lost)

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
        with fsio.explained(path), open(path, "rb") as file:
            _skip_header(file)
            first = file.tell()
            for index, (row, column) in enumerate(tiles):
                core = self._layout.grid.core(int(row), int(column))
                part = core.intersection(box)
                if part.empty:
                    continue
                maps = self._read_tile(file, first, index)
                source = part.moved(-core.x, -core.y).slices
                target = part.moved(-box.x, -box.y).slices
                out[:, target[0], target[1]] = maps[:, source[0], source[1]]

    def _read_tile(self, file: BinaryIO, first: int, index: int) -> npt.NDArray[np.uint8]:
        """Give a tile's maps. Read, not mapped: a failing disk is then an error and not a signal."""
        side = self._layout.grid.tile_px
        size = self._channels * side * side
        file.seek(first + index * size)
        data = file.read(size)
        if len(data) < size:
            raise OSError(errno.EIO, "the file is shorter than it was written")
        return np.frombuffer(data, np.uint8).reshape(self._channels, side, side)


def _skip_header(file: BinaryIO) -> None:
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)


class NucleiStore:
    """The decoded nuclei of a run, by block."""

    def __init__(self, work: Path) -> None:
        self._work = work

    def write(self, block: Block, nuclei: Nuclei, facts: dict[str, int]) -> Entry:
        """Write a block's nuclei, numbered from 1 within the block."""
        crc = _write(self._work, NUCLEI, block, nuclei.to_bytes())
        return Entry(NUCLEI, block.name, crc, {"nuclei": len(nuclei), **facts})

    def read(self, block: Block) -> Nuclei:
        """Give a decoded block's nuclei."""
        return Nuclei.from_bytes(self._bytes(block))

    def read_pixels(self, block: Block) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Give what painting a decoded block needs: its nuclei's runs and class values."""
        return pixels_from_bytes(self._bytes(block))

    def _bytes(self, block: Block) -> bytes:
        return fsio.read(_path(self._work, NUCLEI, block.name))
