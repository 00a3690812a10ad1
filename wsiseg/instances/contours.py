"""Outlines of all nuclei at once, by array operations alone: from runs of pixels to ordered boundary points.

A run of pixels has two upright edges: its left one is walked up and its right one down, which leads around the
nucleus clockwise on the screen. Where an edge ends, the runs of the next row tell which edge follows, so outlines
are found without touching pixels. Knows no polygons, no slide and no um.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Outlines:
    """The outer boundary of each nucleus as upright edges, one pixel long, in walking order.

    It begins at the left of the nucleus' first pixel, row by row, so it does not depend on the window. The edges
    of a hole are no part of it.
    """

    x: npt.NDArray[np.int32]
    """(edges,): where the edge stands, in the model's frame."""
    y: npt.NDArray[np.int32]
    """(edges,): the row of pixels that it bounds."""
    down: npt.NDArray[np.bool_]
    """(edges,): walked down (the right end of a run) or up (the left end)."""
    offsets: Indices
    """(nuclei + 1): the edges of nucleus i are `offsets[i]` to `offsets[i + 1]`."""

    def midpoints(self) -> tuple[npt.NDArray[np.int32], Indices]:
        """Give the ring through the middle of every boundary edge: marching squares at 0.5.

        The ring is simple, and its area is that of the pixels, holes filled, less one half. Only the points are
        given at which it turns; it starts at the first of them.

        Returns
        -------
        points
            (points, 2): twice the (x, y), in whole numbers.
        nucleus
            (points,): whose each is.
        """
        edges = np.arange(len(self.x))
        following, before = edges + 1, edges - 1
        following[self.offsets[1:] - 1] = self.offsets[:-1]
        before[self.offsets[:-1]] = self.offsets[1:] - 1
        level = self.x[following] - self.x
        side, wide = np.sign(level), np.abs(level) > 1
        # The edge's own middle, and both ends of the level stretch after it: one point if that is a pixel long.
        turns = np.empty((len(edges), 3), bool)
        turns[:, 0] = side != side[before]
        turns[:, 1] = wide | ((level != 0) & (self.down != self.down[following]))
        turns[:, 2] = wide
        edge, which = np.divmod(np.flatnonzero(turns), 3)
        shift = np.stack((np.zeros_like(level), side, 2 * level - side), axis=1)
        points = np.empty((len(edge), 2), np.int32)
        points[:, 0] = 2 * self.x[edge] + shift[edge, which]
        points[:, 1] = 2 * self.y[edge] + np.where(which > 0, 2 * self.down[edge], 1)
        return points, np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))[edge]


def trace_outlines(runs: npt.NDArray[np.int32], count: int) -> Outlines:
    """Trace the outer boundary of every nucleus.

    Parameters
    ----------
    runs
        As `Nuclei.runs`: sorted by nucleus, y, x, with a gap between runs of a row. Each nucleus is one
        4-connected component.
    count
        Number of nuclei; each has at least one run.
    """
    if count == 0:
        nothing = np.empty(0, np.int32)
        return Outlines(nothing, nothing, np.empty(0, bool), np.zeros(1, np.intp))
    nucleus, y, left, right = runs.T
    following = _followers(runs)
    heads = np.searchsorted(nucleus, np.arange(count))  # the left edge of each nucleus' first run
    order, offsets = _walk(following, np.tile(nucleus, 2), heads)
    down = order >= len(runs)
    run = order - down * len(runs)
    return Outlines(np.where(down, right[run], left[run]), y[run], down, offsets)


def _followers(runs: npt.NDArray[np.int32]) -> Indices:
    """Give the edge that continues each: edge i is the left one of run i, edge n + i its right one.

    Two pixels of a nucleus that touch by a corner only count as joined: the nucleus is connected elsewhere, so
    the other side of that corner is enclosed and becomes a hole. Counting them as apart would lead the outer ring
    through the corner twice.
    """
    run = np.arange(len(runs))
    nucleus, y, left, right = runs.astype(np.int64).T
    row = nucleus * (np.ptp(y) + 3) + y - y.min()  # two empty rows between nuclei
    width = right.max() - left.min() + 1
    starts, stops = row * width + left - left.min(), row * width + right - left.min()
    # The last run of the row below that begins at or before a run's end, the first above that ends at or after its
    # beginning: one comparison more tells whether they touch the run.
    below = np.searchsorted(starts, stops + width, side="right") - 1
    above = np.minimum(np.searchsorted(stops, starts - width), len(runs) - 1)
    touches_below = (row[below] == row + 1) & (right[below] >= left)
    touches_above = (row[above] == row - 1) & (left[above] <= right)
    # Between a run and its neighbour in the row there may be a bay that the row below or above closes.
    after, before = np.minimum(run + 1, len(runs) - 1), np.maximum(run - 1, 0)
    closed_below = (after > run) & (row[after] == row) & (left[after] <= right[below])
    closed_above = (before < run) & (row[before] == row) & (right[before] >= left[above])

    up, down = 0, len(runs)
    from_right = np.where(touches_below, np.where(closed_below, up + after, down + below), up + run)
    from_left = np.where(touches_above, np.where(closed_above, down + before, up + above), down + run)
    return np.concatenate((from_left, from_right))


def _walk(following: Indices, owners: npt.NDArray[np.int32], heads: Indices) -> tuple[Indices, Indices]:
    """Order the edges that are reached from the nuclei's first ones; give that order and where rings begin.

    List ranking by pointer doubling (Wyllie 1979): each round doubles how far every edge looks ahead, so the
    rounds are the logarithm of the longest outline, and no step is taken edge by edge.
    """
    before = np.empty_like(following)
    before[following] = np.arange(len(following))
    last = before[heads]
    jump = following.copy()
    jump[last] = last
    steps = np.ones(len(following), np.intp)
    steps[last] = 0
    longest = int(np.bincount(owners).max())
    for _ in range(longest.bit_length()):
        steps += steps[jump]
        jump = jump[jump]
    offsets = np.concatenate(([0], np.cumsum(steps[heads] + 1)))
    # The edges of a hole never arrive at the outline's last edge.
    outer = np.flatnonzero(jump == last[owners])
    order = np.empty(offsets[-1], np.intp)
    order[offsets[owners[outer] + 1] - 1 - steps[outer]] = outer
    return order, offsets
