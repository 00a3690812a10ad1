"""A tissue mask in its frame, and its meeting with the grid of tiles. Reads no slide and no file."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import shapely

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.geometry import Frame
    from wsiseg.tiling import TileGrid

MARGIN_TILES = 0.5
"""Tiles this near to tissue are kept too: the outermost nuclei of a pale edge may be missing from the mask."""
SMALLEST_OUTLINE_UM = 50.0
"""Diameter of the smallest island or hole that an outline for people shows."""


@dataclass(frozen=True)
class Tissue:
    """Where a slide has tissue."""

    mask: npt.NDArray[np.bool_]
    """(height, width) of the frame, True on tissue."""
    frame: Frame

    def area_mm2(self, mpp: float) -> float:
        """Give the area of the tissue; `mpp` is um per level-0 pixel."""
        pixel_um = self.frame.downsample * mpp
        return float(self.mask.sum()) * pixel_um**2 / 1e6

    def outline(self, mpp: float) -> list[Any]:
        """Give the tissue as valid shapely polygons in level-0 pixels, without specks: for reports."""
        smallest_px = pi / 4 * (SMALLEST_OUTLINE_UM / (mpp * self.frame.downsample)) ** 2
        # Two pixels a pixel, so that a contour, which runs through pixel centres, can follow the edges closely.
        fine = np.kron(self.mask, np.ones((2, 2), np.uint8)).astype(np.uint8)
        rings, family = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        polygons = []
        for index, ring in enumerate(rings):
            is_hole = family[0][index][3] >= 0
            if is_hole or len(ring) < 4:
                continue
            holes = [
                hole for hole in _children(index, family[0], rings) if cv2.contourArea(hole) > 4 * smallest_px
            ]
            polygon = shapely.Polygon(self._level0(ring), [self._level0(hole) for hole in holes])
            if cv2.contourArea(ring) >= 4 * smallest_px:
                polygons += _polygons_of(shapely.make_valid(polygon, method="structure"))
        return polygons

    def _level0(self, ring: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        return self.frame.to_level0((ring[:, 0, :] + 0.5) / 2)


def tiles_with_tissue(
    mask: npt.NDArray[np.bool_], mask_frame: Frame, grid: TileGrid, margin_tiles: float = MARGIN_TILES
) -> npt.NDArray[np.bool_]:
    """Say for each tile whether its core, and `margin_tiles` around it, holds a pixel of tissue."""
    rows, columns = grid.shape
    top, bottom = _reach(rows, 1, grid, mask_frame, margin_tiles)
    left, right = _reach(columns, 0, grid, mask_frame, margin_tiles)
    # Tissue pixels in any rectangle, from four entries of one cumulative table.
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    table[1:, 1:] = mask.cumsum(0).cumsum(1)
    inside = table[bottom][:, right] - table[top][:, right] - table[bottom][:, left] + table[top][:, left]
    found: npt.NDArray[np.bool_] = inside > 0
    return found


def tiles_in_roi(roi: Any, grid: TileGrid) -> npt.NDArray[np.bool_]:  # noqa: ANN401  shapely is not typed
    """Say for each tile whether its core meets the region, a shapely geometry in level-0 pixels."""
    rows, columns = grid.shape
    frame, side = grid.frame, grid.tile_px
    x = frame.origin[0] + np.minimum(np.arange(columns + 1) * side, frame.width) * frame.downsample
    y = frame.origin[1] + np.minimum(np.arange(rows + 1) * side, frame.height) * frame.downsample
    boxes = shapely.box(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])
    shapely.prepare(roi)
    found: npt.NDArray[np.bool_] = shapely.intersects(roi, boxes) & ~shapely.touches(roi, boxes)
    return found


def _reach(
    tiles: int, axis: int, grid: TileGrid, mask_frame: Frame, margin_tiles: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Give the first mask pixel, and the first beyond, of each tile with its margin along an axis (0: x)."""
    length = (mask_frame.width, mask_frame.height)[axis]
    positions = np.arange(tiles)
    low, high = ((positions + shift) * grid.tile_px for shift in (-margin_tiles, 1 + margin_tiles))
    scale = grid.frame.downsample / mask_frame.downsample
    offset = (grid.frame.origin[axis] - mask_frame.origin[axis]) / mask_frame.downsample
    start = np.clip(np.floor(low * scale + offset), 0, length).astype(np.intp)
    stop = np.clip(np.ceil(high * scale + offset), 0, length).astype(np.intp)
    return start, stop


def _children(index: int, family: npt.NDArray[np.int32], rings: Any) -> list[Any]:  # noqa: ANN401  tuple of arrays
    """Give the holes of a ring: OpenCV links them as a chain that starts at the ring's first child."""
    found = []
    child = family[index][2]
    while child >= 0:
        found.append(rings[child])
        child = family[child][0]
    return found


def _polygons_of(geometry: Any) -> list[Any]:  # noqa: ANN401  shapely is not typed
    return [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon" and not part.is_empty]
