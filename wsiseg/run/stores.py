"""Work in progress on disk: a block's maps until its neighbours are decoded, its nuclei until the run ends.

A block's maps are one `.npy` of its inferred tiles in row-major order, (n, channels, tile, tile) uint8, so that a
neighbour can map the file and touch just the tiles along the common edge.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

import numpy as np

from wsiseg import fsio
from wsiseg.nuclei import Nuclei, pixels_from_bytes
from wsiseg.tiling import Block

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.run.ledger import Entry, Ledger
    from wsiseg.tiling import TileGrid

MAPS = "maps"
NUCLEI = "nuclei"
"""Stages in the ledger."""


class MapStore:
    """The maps of a run, by block.

    Parameters
    ----------
    wanted
        (rows, columns) of the grid: the tiles that are inferred; the others read as zero.
    channels
        Number of maps.
    """

    def __init__(
        self, folder: Path, ledger: Ledger, grid: TileGrid, wanted: npt.NDArray[np.bool_], channels: int
    ) -> None:
        self._folder = folder
        self._ledger = ledger
        self._grid = grid
        self._wanted = wanted
        self._channels = channels

    def _path(self, block: Block) -> Path:
        return self._folder / f"{block.name}.npy"

    def tiles_of(self, block: Block) -> npt.NDArray[np.intp]:
        """Give the (n, 2) rows and columns of a block's inferred tiles, in storage order."""
        rows, columns = self._grid.block_tiles(block)
        tiles: npt.NDArray[np.intp] = np.argwhere(self._wanted[rows, columns])
        tiles += np.array((rows.start, columns.start))
        return tiles

    def has(self, block: Block) -> bool:
        """Tell whether a block's maps are recorded and their file is what was recorded."""
        entry = self._ledger.find(MAPS, block)
        path = self._path(block)
        return entry is not None and path.is_file() and _crc(path) == entry.crc

    def write(self, block: Block, maps: npt.NDArray[np.uint8]) -> None:
        """Commit a block's maps, (n, channels, tile, tile) in the order of `tiles_of`."""
        buffer = io.BytesIO()
        np.save(buffer, maps)
        data = buffer.getbuffer()
        fsio.write_atomic(self._path(block), data)
        self._ledger.record(MAPS, block, zlib.crc32(data), tiles=len(maps))

    def drop(self, block: Block) -> None:
        """Remove a block's maps: everyone who needs them is done."""
        fsio.remove(self._path(block))

    def read(self, box: Box) -> npt.NDArray[np.uint8]:
        """Give the maps of a box inside the frame: (channels, height, width), zero where not inferred."""
        out = np.zeros((self._channels, *box.shape), np.uint8)
        side = self._grid.block_px
        for row in range(box.y // side, -(-box.bottom // side)):
            for column in range(box.x // side, -(-box.right // side)):
                self._copy(Block(row, column), box, out)
        return out

    def _copy(self, block: Block, box: Box, out: npt.NDArray[np.uint8]) -> None:
        tiles = self.tiles_of(block)
        if len(tiles) == 0:
            return
        with fsio.explained(self._path(block)):
            stored = np.load(self._path(block), mmap_mode="r", allow_pickle=False)
        for maps, (row, column) in zip(stored, tiles, strict=True):
            core = self._grid.core(int(row), int(column))
            part = core.intersection(box)
            if part.empty:
                continue
            source = part.moved(-core.x, -core.y).slices
            target = part.moved(-box.x, -box.y).slices
            out[:, target[0], target[1]] = maps[:, source[0], source[1]]


class NucleiStore:
    """The decoded nuclei of a run, by block."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger

    def _path(self, block: Block) -> Path:
        return self._folder / f"{block.name}.arrow"

    def find(self, block: Block) -> Entry | None:
        """Give the ledger's entry of a decoded block whose file is what was recorded, or None."""
        entry = self._ledger.find(NUCLEI, block)
        if entry is None or not self._path(block).is_file():
            return None
        return entry if zlib.crc32(self._bytes(block)) == entry.crc else None

    def write(self, block: Block, nuclei: Nuclei, facts: dict[str, int]) -> Entry:
        """Commit a block's nuclei, numbered from 1 within the block."""
        data = nuclei.to_bytes()
        fsio.write_atomic(self._path(block), data)
        return self._ledger.record(NUCLEI, block, zlib.crc32(data), nuclei=len(nuclei), **facts)

    def read(self, block: Block) -> Nuclei:
        """Give a decoded block's nuclei."""
        return Nuclei.from_bytes(self._bytes(block))

    def read_pixels(self, block: Block) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Give what painting a decoded block needs: its nuclei's runs and class values."""
        return pixels_from_bytes(self._bytes(block))

    def _bytes(self, block: Block) -> bytes:
        with fsio.explained(self._path(block)):
            return self._path(block).read_bytes()


def _crc(path: Path) -> int:
    crc = 0
    with fsio.explained(path), open(path, "rb") as handle:
        while chunk := handle.read(1 << 22):
            crc = zlib.crc32(chunk, crc)
    return crc
