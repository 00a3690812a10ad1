"""Which tiles are worth running: tissue, region of interest, and the account of every tile of the grid.

`plan_tiles` gives each tile one `TileState`, so blank tiles, tiles outside the region and tiles to infer add up
to the grid.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg.tissue.detect import check_brightfield, find_tissue
from wsiseg.tissue.files import load_roi, load_tissue
from wsiseg.tissue.mask import Tissue, tiles_in_roi, tiles_with_tissue

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.slides import Slide
    from wsiseg.tiling import TileGrid

__all__ = [
    "TileState",
    "Tissue",
    "check_brightfield",
    "find_tissue",
    "load_roi",
    "load_tissue",
    "plan_tiles",
    "tile_states",
    "tiles_in_roi",
    "tiles_with_tissue",
    "tissue_of",
]


class TileState(IntEnum):
    """What becomes of a tile; every tile of the grid has one."""

    OUTSIDE = 0
    """Outside the region of interest."""
    BLANK = 1
    """Without tissue."""
    TISSUE = 2
    """To be inferred."""


def tissue_of(slide: Slide, setting: str | Path) -> Tissue | None:
    """Find or load a slide's tissue.

    Parameters
    ----------
    setting
        `auto` finds it, `none` means every tile (and gives None), anything else is a mask file.
    """
    if setting == "none":
        return None
    if setting == "auto":
        return Tissue(*find_tissue(slide))
    return load_tissue(setting, slide.info)


def tile_states(grid: TileGrid, tissue: Tissue | None, roi: Any = None) -> npt.NDArray[np.uint8]:  # noqa: ANN401
    """Give each tile its `TileState`, (rows, columns); `roi` is a shapely geometry in level 0 or None."""
    states = np.full(grid.shape, TileState.TISSUE, np.uint8)
    if tissue is not None:
        states[~tiles_with_tissue(tissue.mask, tissue.frame, grid)] = TileState.BLANK
    if roi is not None:
        states[~tiles_in_roi(roi, grid)] = TileState.OUTSIDE
    return states


def plan_tiles(
    slide: Slide,
    grid: TileGrid,
    tissue: str | Path = "auto",
    roi: Any = None,  # noqa: ANN401  shapely is not typed
) -> npt.NDArray[np.uint8]:
    """Decide for each tile of a slide's grid; see `tissue_of` and `tile_states`."""
    return tile_states(grid, tissue_of(slide, tissue), roi)
