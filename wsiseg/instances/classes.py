"""Which class each object is: the sums of the classes' probabilities over its pixels.

Sums are whole numbers, hence exact: the same nucleus is the same in whichever window it was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsiseg.nuclei import expand_ranges
from wsiseg.typemap import CELL_PX, class_maps

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.instances.objects import Objects
    from wsiseg.instances.planes import Planes

    Sums = npt.NDArray[np.int64]

TYPES = 2
"""Place of the map of types among the maps of a bundle with several classes."""
_RUNS_AT_ONCE = 1 << 14
"""Runs whose cells are looked at together: their places stay in the processor's cache."""


def measure_classes(
    objects: Objects, planes: Planes, window: Box, count: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Tell what at least one object is, by the planes of the window that it was found in.

    Parameters
    ----------
    count
        Number of classes that the planes tell apart; 0 if there is nothing to tell.

    Returns
    -------
    (n,): the place of each object's class, the one with the largest sum over its pixels and the first of equals.
    (n, count): the share of each class in all sums; where all are 0, nothing is known and all have the same.
    """
    if count == 0:
        return np.zeros(len(objects), np.intp), np.empty((len(objects), 0), np.float32)
    sums = _class_sums(objects, planes.maps[TYPES], window, count)
    known = np.where(sums.any(axis=1, keepdims=True), sums, 1)
    return known.argmax(axis=1), (known / known.sum(axis=1, keepdims=True)).astype(np.float32)


def _class_sums(objects: Objects, plane: npt.NDArray[np.uint8], window: Box, count: int) -> Sums:
    """Give the (n, count) sums over each object's pixels of what their cells hold of each class."""
    if window.x % CELL_PX or window.y % CELL_PX:
        raise ValueError(f"{window} does not begin where a cell of types does")
    maps = class_maps(plane, count)
    parts = (slice(i, i + _RUNS_AT_ONCE) for i in range(0, len(objects.runs), _RUNS_AT_ONCE))
    sums = np.concatenate([_sums_of_runs(objects.runs[part], maps, window) for part in parts], axis=1)
    return np.add.reduceat(sums, objects.starts, axis=1).T


def _sums_of_runs(runs: npt.NDArray[np.int32], maps: npt.NDArray[np.uint8], window: Box) -> Sums:
    """Give the (count, m) sums over each run's pixels: of each cell that it meets, value times overlap."""
    count, rows, columns = maps.shape
    if rows * columns == 0:  # the frame is smaller than a cell
        return np.zeros((count, len(runs)), np.int64)
    y, left, right = (runs[:, 1:].astype(np.intp) - (window.y, window.x, window.x)).T
    first = left // CELL_PX
    cells = (right - 1) // CELL_PX - first + 1
    column = expand_ranges(first, cells)
    overlap = np.minimum(np.repeat(right, cells), (column + 1) * CELL_PX)
    overlap -= np.maximum(np.repeat(left, cells), column * CELL_PX)
    # Where the frame ends inside a cell, its pixels take what the nearest whole one holds.
    row = np.repeat(np.minimum(y // CELL_PX, rows - 1), cells)
    place = row * columns + np.minimum(column, columns - 1)
    begins = np.cumsum(cells) - cells
    values = maps.reshape(count, -1)[:, place] * overlap
    return np.add.reduceat(values, begins, axis=1, dtype=np.int64)
