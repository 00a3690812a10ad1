"""Work in progress on disk: a block's maps until its neighbours are decoded, its nuclei until the run ends.

A block's maps are a file of its inferred tiles in row-major order (`wsiseg.run.tilefile`): of each the maps, then
the stains of its pixels that may be of a nucleus. Two processes may write one file at a time: each has a partial
file of its own, and both hold the same bytes.
"""

from __future__ import annotations

import secrets
import zlib
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from wsiseg import fsio
from wsiseg.errors import ResourceError
from wsiseg.instances import Planes
from wsiseg.nuclei import Nuclei, outlines_from_bytes, pixels_from_bytes, places_from_bytes
from wsiseg.run.board import Board
from wsiseg.run.ledger import MAPS, NUCLEI, Entry
from wsiseg.run.tilefile import TileReader, join_tiles, pack_tile, unpack_tile
from wsiseg.stains import STAINS, as_planes, stains_of
from wsiseg.tiling import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.run.ledger import Ledger
    from wsiseg.run.plan import Layout

_SUFFIXES = {MAPS: ".tiles", NUCLEI: ".arrow"}


def _path(work: Path, stage: str, block: str) -> Path:
    return work / stage / f"{block}{_SUFFIXES[stage]}"


def _write(work: Path, stage: str, block: Block, data: bytes) -> int:
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
    """The maps and stains of a run, by block.

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
        side = layout.grid.tile_px
        self._tile_shape = (channels, side, side)
        self._nothing = pack_tile(np.zeros(self._tile_shape, np.uint8))
        """A tile whose maps are 0 everywhere; so they need not be unpacked to be known."""

    def pack(self, maps: npt.NDArray[np.uint8], rgb: npt.NDArray[np.uint8]) -> bytes:
        """Make of a tile's (channels, tile, tile) maps and (tile, tile, 3) pixels what `write` takes."""
        return pack_tile(np.concatenate([maps.ravel(), stains_of(rgb, maps[0]).ravel()]))

    def pack_lost(self) -> bytes:
        """Make the same of a tile that could not be read: all 0."""
        return self._nothing

    def write(self, block: Block, tiles: Sequence[bytes], lost: tuple[tuple[int, int], ...] = ()) -> Entry:
        """Write a block's tiles.

        Parameters
        ----------
        tiles
            Packed, in the order of `Layout.tiles_of`.
        lost
            (row, column) of those that could not be read.
        """
        crc = _write(self._work, MAPS, block, join_tiles(tiles))
        return Entry(MAPS, block.name, crc, {"tiles": len(tiles)}, lost)

    def read(self, box: Box) -> Planes:
        """Give the planes of a box inside the frame, zero where not inferred."""
        channels = self._tile_shape[0]
        out = np.zeros((channels + len(STAINS), *box.shape), np.uint8)
        side = self._layout.grid.block_px
        for row in range(box.y // side, -(-box.bottom // side)):
            for column in range(box.x // side, -(-box.right // side)):
                self._copy(Block(row, column), box, out)
        return Planes(out[:channels], out[channels:])

    def _copy(self, block: Block, box: Box, out: npt.NDArray[np.uint8]) -> None:
        tiles = self._layout.tiles_of(block)
        side = self._layout.grid.tile_px
        first, after = (box.y // side, box.x // side), (-(-box.bottom // side), -(-box.right // side))
        near = np.flatnonzero(((tiles >= first) & (tiles < after)).all(1))
        if len(near) == 0:
            return
        path = _path(self._work, MAPS, block.name)
        with fsio.explained(path), open(path, "rb") as file:
            reader = TileReader(file, len(tiles))
            for index in near.tolist():
                packed = reader.tile(index)
                if packed == self._nothing:  # as `out` is
                    continue
                core = self._layout.grid.core(*tiles[index].tolist())
                part = core.intersection(box)
                source = part.moved(-core.x, -core.y).slices
                target = part.moved(-box.x, -box.y).slices
                self._unpack(packed, source, out[:, *target])

    def _unpack(self, packed: bytes, area: tuple[slice, slice], out: npt.NDArray[np.uint8]) -> None:
        """Put the planes of an area of a tile where there is 0 so far."""
        content = unpack_tile(packed)
        maps = content[: prod(self._tile_shape)].reshape(self._tile_shape)
        out[: len(maps)] = maps[:, *area]
        stains = content[maps.size :].reshape(-1, len(STAINS))
        if len(stains):
            out[len(maps) :] = as_planes(stains, maps[0])[:, *area]


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

    def read_outlines(self, block: Block) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.uint8]]:
        """Give the outlines of a decoded block's nuclei, and the values of their classes."""
        return outlines_from_bytes(self._bytes(block))

    def read_pixels(self, block: Block) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Give what painting a decoded block needs: its nuclei's runs and class values."""
        return pixels_from_bytes(self._bytes(block))

    def read_centroids(self, block: Block) -> npt.NDArray[np.float64]:
        """Give the centroids of a decoded block's nuclei: (n, 2) level-0 (x, y)."""
        return self.read_places(block)[0]

    def read_places(self, block: Block) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Give the centroids of a decoded block's nuclei, and their class values."""
        return places_from_bytes(self._bytes(block))

    def _bytes(self, block: Block) -> bytes:
        return fsio.read(_path(self._work, NUCLEI, block.name))
