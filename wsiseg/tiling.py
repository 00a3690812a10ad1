"""The grid of tiles and blocks over a frame: who reads which pixels, and who owns them. Knows no slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsiseg.cutting import Pixels, cheapest_cut
from wsiseg.geometry import Box, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

BLOCK_TILES = 16
"""Tiles on a block's side: with 256 px tiles a block is the 4096 px shard of the mask."""


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """One unit of work, storage and restart: up to 16 x 16 tiles."""

    row: int
    column: int

    @property
    def name(self) -> str:
        """A stable name for files and ledgers: `r003c012`."""
        return f"r{self.row:03d}c{self.column:03d}"


@dataclass(frozen=True, slots=True)
class Window:
    """Adjacent tiles that the network sees at once, with one halo around all of them."""

    first_row: int
    """Row of the top tile in the grid."""
    first_column: int
    """Column of the left tile in the grid."""
    rows: int
    columns: int

    @property
    def tiles(self) -> tuple[slice, slice]:
        """(rows, columns) of its tiles in an array of the grid's shape."""
        row, column = self.first_row, self.first_column
        return slice(row, row + self.rows), slice(column, column + self.columns)


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Square tiles that partition a frame, in blocks of 16 x 16.

    The core of tile (row, column) is [column * tile_px, +tile_px) x [row * tile_px, +tile_px), cut at the
    frame's edge. Cores partition the frame, so every pixel has one owner.
    """

    frame: Frame
    tile_px: int = 256

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of tiles."""
        return -(-self.frame.height // self.tile_px), -(-self.frame.width // self.tile_px)

    @property
    def block_px(self) -> int:
        """Side of a block, px of the frame."""
        return self.tile_px * BLOCK_TILES

    @property
    def block_shape(self) -> tuple[int, int]:
        """(rows, columns) of blocks."""
        rows, columns = self.shape
        return -(-rows // BLOCK_TILES), -(-columns // BLOCK_TILES)

    @property
    def blocks(self) -> Iterator[Block]:
        """All blocks, row by row."""
        rows, columns = self.block_shape
        return (Block(row, column) for row in range(rows) for column in range(columns))

    def core(self, row: int, column: int) -> Box:
        """Give the pixels that tile (row, column) alone owns."""
        whole = Box(column * self.tile_px, row * self.tile_px, self.tile_px, self.tile_px)
        return whole.intersection(self.frame.box)

    def block_box(self, block: Block) -> Box:
        """Give the pixels that a block owns, cut at the frame's edge."""
        side = self.block_px
        return Box(block.column * side, block.row * side, side, side).intersection(self.frame.box)

    def block_tiles(self, block: Block) -> tuple[slice, slice]:
        """Give (rows, columns) of a block's tiles in an array of the grid's shape."""
        rows, columns = self.shape
        top, left = block.row * BLOCK_TILES, block.column * BLOCK_TILES
        return slice(top, min(top + BLOCK_TILES, rows)), slice(left, min(left + BLOCK_TILES, columns))

    def neighbours(self, block: Block, reach: int = 1) -> tuple[Block, ...]:
        """Give the block itself and those at most `reach` blocks away, corners included, row by row."""
        rows, columns = self.block_shape
        return tuple(
            Block(row, column)
            for row in range(max(block.row - reach, 0), min(block.row + reach + 1, rows))
            for column in range(max(block.column - reach, 0), min(block.column + reach + 1, columns))
        )

    def windows(self, block: Block, wanted: npt.NDArray[np.bool_], span: int, halo_px: int = 0) -> list[Window]:
        """Cut a block's wanted tiles into windows of at most `span` x `span` tiles, with the fewest pixels in all.

        They depend on the block's wanted tiles alone and on no batch size, order or worker.

        Parameters
        ----------
        wanted
            (rows, columns) of the grid: tiles to infer.
        halo_px
            Context around each window.
        """
        rows, columns = self.block_tiles(block)
        # A halo counts twice: a window has costs of its own, and nuclei at its edge are seen with less around.
        found = cheapest_cut(wanted[rows, columns], Pixels(span, self.tile_px, 2 * halo_px))
        return [Window(rows.start + top, columns.start + left, *size) for top, left, *size in found]

    def window_box(self, window: Window, halo_px: int = 0) -> Box:
        """Give the pixels of a window with its halo; it may reach beyond the frame."""
        side = self.tile_px
        return Box(
            window.first_column * side, window.first_row * side, window.columns * side, window.rows * side
        ).grown(halo_px)
