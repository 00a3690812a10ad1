"""Tiles that could not be read: which they are, how many a run may have, and how the mask says so.

A tile is lost if any pixel that it owns is; around a lost place its neighbours see the slide's background.
"""

from __future__ import annotations

from math import ceil, log10
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.errors import SlideError
from wsiseg.slides import best_level, read_box

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.run.plan import Layout
    from wsiseg.slides import PatchedSlide
    from wsiseg.stitch import Part
    from wsiseg.tiling import Block, TileGrid, Window

    Tiles = tuple[tuple[int, int], ...]
    """(row, column) in the grid, row by row."""

UNKNOWN = 255
"""Class value of the pixels of a lost tile; no bundle's class has it."""
MOST_HOPELESS = 100
"""With more lost tiles than these and than are allowed, a run stops at once instead of listing all."""
_NAMED = 20


def read_window(slide: PatchedSlide, layout: Layout, window: Window) -> tuple[npt.NDArray[np.uint8], Tiles]:
    """Read a window with its halo.

    Returns
    -------
    The (height, width, 3) pixels, and the wanted tiles of the window that could not be read.
    """
    pixels = read_box(slide, layout.frame, layout.grid.window_box(window, layout.halo_px))
    boxes = slide.lost(best_level(slide.info.levels, layout.frame.downsample))
    if not len(boxes):
        return pixels, ()
    lost = (tiles_under(layout.grid, boxes) & layout.wanted)[window.tiles]
    places = np.argwhere(lost) + (window.first_row, window.first_column)
    return pixels, tuple((int(row), int(column)) for row, column in places)


def tiles_under(grid: TileGrid, boxes: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Say for each tile, (rows, columns), whether its core meets any of some boxes.

    Parameters
    ----------
    boxes
        (n, 4) left, top, right and bottom in level-0 pixels.
    """
    rows, columns = grid.shape
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
    # 1e-6 px of slack: a box that ends where a tile begins does not meet it.
    first, last = np.moveaxis(grid.frame.from_level0(corners) / grid.tile_px, 1, 0)
    left, top = np.clip(np.floor(first + 1e-6), 0, (columns, rows)).astype(np.intp).T
    right, bottom = np.clip(np.ceil(last - 1e-6), 0, (columns, rows)).astype(np.intp).T
    # Each box adds one to its tiles: +1 where it begins and -1 where it ends, then summed along both axes.
    steps = np.zeros((rows + 1, columns + 1), np.int64)
    for y, x, step in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(steps, (y, x), step)
    found: npt.NDArray[np.bool_] = steps.cumsum(0).cumsum(1)[:rows, :columns] > 0
    return found


def check_gaps(lost: Tiles, tissue_tiles: int, share: float, slide: Path, *, finished: bool) -> None:
    """Refuse a run that lost more tiles than it may.

    Parameters
    ----------
    tissue_tiles
        Tiles that were to be inferred.
    share
        How many of them may be lost, 0 to 1.
    finished
        Whether all were read; until then only a hopeless slide is refused.

    Raises
    ------
    SlideError
        E-UNREADABLE, with the list.
    """
    if len(lost) <= share * tissue_tiles or not (finished or len(lost) > MOST_HOPELESS):
        return
    named = ", ".join(f"row {row} column {column}" for row, column in lost[:_NAMED])
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    so_far = "" if finished else " so far"
    allow = f"--max-unreadable {_rounded_up(len(lost) / tissue_tiles)}"
    raise SlideError(
        "E-UNREADABLE",
        f"{len(lost)} of {tissue_tiles} tiles of tissue cannot be read{so_far}: {named}{more}",
        where=slide,
        fix=f"copy the slide again and begin anew, or allow it with {allow}",
    )


def _rounded_up(share: float) -> str:
    """Give a share with two digits, never less than it is."""
    step = 10.0 ** (ceil(log10(share)) - 2)
    return f"{min(ceil(share / step - 1e-9) * step, 1.0):.6g}"


def unknown_part(grid: TileGrid, block: Block, lost: Iterable[tuple[int, int]]) -> Part:
    """Give the lost tiles of a block as what a mask paints: no nucleus, and the class `UNKNOWN`."""
    rows, columns = grid.block_tiles(block)
    cores = [
        grid.core(row, column)
        for row, column in lost
        if rows.start <= row < rows.stop and columns.start <= column < columns.stop
    ]
    runs = [(i, y, core.x, core.right) for i, core in enumerate(cores) for y in range(core.y, core.bottom)]
    ids, classes = np.zeros(len(cores), np.uint32), np.full(len(cores), UNKNOWN, np.uint8)
    return np.array(runs, np.int32).reshape(-1, 4), ids, classes
