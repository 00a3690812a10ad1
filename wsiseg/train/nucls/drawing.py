"""From boundaries and codes to pixels: instance maps, and where a field was looked at.

A pixel belongs to a boundary that holds its centre, so that areas are unbiased. The published masks are drawn
alike, give or take one pixel of shift; drawing the boundary pixels too, as polygon fillers do, adds 5 to 8 %.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import shapely

from wsiseg.train.nucls.published import FIELD, OUTLINE, OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from wsiseg.train.nucls.published import Nucleus, PublishedField, PublishedMask

_FIELD_LEVEL0_PX = 256
"""Side of the square that raters saw, in level-0 pixels: so it is in every mask that was looked at."""


def draw_nuclei(nuclei: Sequence[Nucleus], shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Draw a table's nuclei as (h, w) labels; row i is label i + 1.

    Outlines lie over boxes, and small nuclei over large ones, so that what is known best is seen.
    """
    labels = np.zeros(shape, np.int32)
    order = sorted(range(len(nuclei)), key=lambda i: (nuclei[i].kind == OUTLINE, -nuclei[i].area_um2))
    for i in order:
        _fill(labels, nuclei[i].ring, i + 1)
    return labels


def _fill(labels: npt.NDArray[np.int32], ring: npt.NDArray[np.float64], value: int) -> None:
    low = np.clip(np.floor(ring.min(0)), 0, labels.shape[::-1]).astype(int)
    high = np.clip(np.ceil(ring.max(0)), low, labels.shape[::-1]).astype(int)
    x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
    part = labels[low[1] : high[1], low[0] : high[0]]
    part[shapely.contains_xy(shapely.Polygon(ring), x, y)] = value


def mask_nuclei(mask: PublishedMask, nuclei: Sequence[Nucleus]) -> npt.NDArray[np.int32]:
    """Give a mask's own pixels of nuclei as (h, w) labels, numbered as the table's rows where they match.

    A mask does not say which row an object is; it is the row that it shares most of both areas with. An object
    without such a row gets a number above the rows'.
    """
    height, width = mask.codes.shape
    nucleus = ~np.isin(mask.codes, (OUTSIDE, FIELD))
    rows = len(nuclei)
    drawn = draw_nuclei(nuclei, (height, width))
    names, object_of = np.unique(mask.objects[nucleus], return_inverse=True)
    shared = np.zeros((len(names), rows + 1))
    np.add.at(shared, (object_of, drawn[nucleus]), 1)
    sizes = np.bincount(object_of)[:, None] + np.bincount(drawn.ravel(), minlength=rows + 1)[None]
    iou = shared / (sizes - shared)
    iou[:, 0] = 0
    number = np.where(iou.any(1), iou.argmax(1), rows + 1 + np.arange(len(names)))
    labels = np.zeros_like(drawn)
    labels[nucleus] = number[object_of]
    return labels


def field_inside(field: PublishedField) -> npt.NDArray[np.bool_]:
    """Tell (h, w) where raters looked: the field itself, without the rim that shows its outer nuclei whole.

    From the mask where there is one. Without it the field's place is not published, but it is known that it is a
    square of `_FIELD_LEVEL0_PX`, lies in the image and meets every nucleus of the table: what is inside wherever
    it lies counts.
    """
    inside = np.zeros(field.rgb.shape[:2], np.bool_)
    if field.mask is None:
        low, high = _extents(field.nuclei)
        columns, rows = (
            _surely_inside(low[:, axis], high[:, axis], inside.shape[1 - axis], field.name.size_level0[axis])
            for axis in (0, 1)
        )
        inside[rows, columns] = True
        return inside
    codes = field.mask.codes
    y, x = np.nonzero(codes == FIELD)
    if len(y):
        rectangle = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
        inside[rectangle] = codes[rectangle] != OUTSIDE
    return inside


def _extents(nuclei: Sequence[Nucleus]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    corners = [(nucleus.ring.min(0), nucleus.ring.max(0)) for nucleus in nuclei]
    low, high = np.array(corners, np.float64).reshape(-1, 2, 2).transpose(1, 0, 2)
    return low, high


def _surely_inside(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], size: int, size_level0: int
) -> slice:
    """Give the pixels of one axis that lie in the field wherever it lies, from the nuclei's extents."""
    side = min(_FIELD_LEVEL0_PX * size / size_level0, size)
    first = np.max(low - side, initial=0.0)
    last = np.min(high, initial=size - side)
    start, end = math.ceil(max(first, last)), math.floor(min(first, last) + side)
    return slice(min(start, size), max(end, start))
