"""One valid polygon a nucleus, in level-0 pixels on the 0.01 px grid.

QuPath refuses a whole file for one invalid polygon and rounds to 0.01 px itself, so validity is decided after
rounding, in whole hundredths of a pixel: there it is exact and no later shift of the origin can change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.geometry.polygon import orient

from wsiseg.instances.contours import trace_outlines

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from wsiseg.geometry import Box, Frame

    Points = npt.NDArray[np.float64]
    """(n, 2): x and y."""

GRID = 100
"""Steps of the coordinate grid in a level-0 pixel."""

TOLERANCE_PX = 0.5
"""How far simplification may move the outline, px of the model's frame: a fifth of the vertices are left."""

_BATCH_RUNS = 1 << 16
"""Runs that are outlined at once: their work arrays take a few MB and stay in the processor's cache."""

_LARGEST_AREA_CHANGE = 0.1
"""A simplified outline whose area differs by more is not used; this concerns nuclei of a few pixels only."""


@dataclass(frozen=True, eq=False)
class Polygons:
    """The polygons of a table of nuclei, and how they came about."""

    polygon: npt.NDArray[np.object_]
    """shapely Polygons, level-0 px; empty where nothing of the nucleus lies on the slide."""
    repaired: int
    """Outlines that rounding or the slide's edge had made invalid and that were mended."""


def make_polygons(runs: npt.NDArray[np.int32], count: int, frame: Frame, area: Box) -> Polygons:
    """Turn nuclei into polygons: counter-clockwise (y down), without holes, valid and with an area.

    Parameters
    ----------
    runs
        As `Nuclei.runs`.
    count
        Number of nuclei.
    frame
        The model's frame.
    area
        The level-0 area that the frame lies over; no vertex lies outside, though the frame's last pixels may.
    """
    parts = [_outline(part, size, frame, area) for part, size in _batches(runs, count)]
    polygon = np.concatenate([np.empty(0, object), *(part.polygon for part in parts)])
    return Polygons(polygon, sum(part.repaired for part in parts))


def _batches(runs: npt.NDArray[np.int32], count: int) -> Iterator[tuple[npt.NDArray[np.int32], int]]:
    """Cut a table's runs between nuclei into pieces of about `_BATCH_RUNS`, each indexed from 0."""
    starts = np.searchsorted(runs[:, 0], np.arange(count + 1))
    _, firsts = np.unique(starts[:-1] // _BATCH_RUNS, return_index=True)
    for first, after in pairwise(np.append(firsts, count)):
        part = runs[starts[first] : starts[after]].copy()
        part[:, 0] -= first
        yield part, int(after - first)


def _outline(runs: npt.NDArray[np.int32], count: int, frame: Frame, area: Box) -> Polygons:
    def on_grid(points: Points) -> Points:
        """Bring points of the frame to level-0 hundredths, pushed back to the area's edge."""
        level0 = np.clip(frame.to_level0(points), (area.x, area.y), (area.right, area.bottom))
        return np.rint(level0 * GRID)

    traced = _trace(runs, count)
    points, nucleus = _simplified(traced)
    hundredths = on_grid(points)
    refused = np.flatnonzero(~shapely.is_valid(_polygons(hundredths, nucleus)))
    polygon = _polygons(hundredths / GRID, nucleus)
    points, nucleus = shapely.get_coordinates(traced[refused], return_index=True)
    mended = _polygons(on_grid(points), nucleus)
    broken = np.flatnonzero(~shapely.is_valid(mended))
    for index in broken:
        mended[index] = _mended(mended[index])
    polygon[refused] = shapely.transform(mended, lambda points: points / GRID)
    return Polygons(polygon, repaired=len(broken))


def _trace(runs: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.object_]:
    """Give the rings through the edges' midpoints, px of the frame.

    In the frame all coordinates are whole halves: simplification computes with them exactly, so equal nuclei
    get equal outlines wherever they lie.
    """
    points, nucleus = trace_outlines(runs, count).midpoints()
    return np.asarray(shapely.linearrings(points / 2, indices=nucleus), object)


def _simplified(rings: npt.NDArray[np.object_]) -> tuple[Points, npt.NDArray[np.intp]]:
    """Give fewer vertices (Douglas and Peucker 1973), or all of a ring where that changes the area too much.

    Rings are simplified, not polygons: for polygons GEOS mends what it broke with `buffer(0)`, which drops parts.
    Here a broken ring is seen by whoever checks it.
    """
    simple = shapely.simplify(rings, TOLERANCE_PX, preserve_topology=False)
    before, after = _areas(rings), _areas(simple)
    changed = np.abs(after - before) > _LARGEST_AREA_CHANGE * before  # all of it where the ring has collapsed
    simple[changed] = rings[changed]
    points, ring = shapely.get_coordinates(simple, return_index=True)
    return points, ring


def _areas(rings: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """Give the area inside of each ring; without rounding, as coordinates are halves."""
    points, ring = shapely.get_coordinates(rings, return_index=True)
    (x, y), (next_x, next_y) = points[:-1].T, points[1:].T
    same = ring[1:] == ring[:-1]
    twice = np.bincount(ring[:-1], weights=(x * next_y - next_x * y) * same, minlength=len(rings))
    area: npt.NDArray[np.float64] = np.abs(twice) / 2
    return area


def _polygons(points: Points, ring: npt.NDArray[np.intp]) -> npt.NDArray[np.object_]:
    return np.asarray(shapely.polygons(shapely.linearrings(points, indices=ring)), object)


def _mended(polygon: shapely.Polygon) -> shapely.Polygon:
    """Give the largest valid part of a polygon in hundredths, without holes; empty where there is none.

    `buffer(0)` is no mending: it loses half of a figure of eight. The structure method keeps all of it.
    """
    for _ in range(3):  # rounding what mending made can make it invalid again, hardly ever twice
        valid = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
        if valid.is_empty:
            break
        parts = shapely.get_parts(valid)
        largest = parts[np.argmax(shapely.area(parts))]
        shell = np.rint(shapely.get_coordinates(shapely.get_exterior_ring(largest)))
        polygon = orient(shapely.Polygon(shell))
        if polygon.is_valid and polygon.area > 0:
            return polygon
    return shapely.Polygon()
