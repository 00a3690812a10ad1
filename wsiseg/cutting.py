"""Rectangles of tiles that cover what is wanted of a block with the fewest pixels, their halos included.

A rectangle is cut in two from side to side, and each part again ("guillotine cuts"), until a part is small enough
to be a window or holds nothing. Among all ways to do so the cheapest is found by dynamic programming: the cheapest
cut of a rectangle is made of the cheapest cuts of its parts.

Source: J. E. Beasley, "Algorithms for unconstrained two-dimensional guillotine cutting", Journal of the
Operational Research Society 36 (1985).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Rectangle = tuple[int, int, int, int]
    """First row, first column, rows, columns."""
    Costs = dict[tuple[int, int], npt.NDArray[np.int64]]
    """Of each (rows, columns): the pixels of the cheapest cut, by the rectangle's first row and column."""

_NEVER = 1 << 40
"""More pixels than any cut has."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a window costs."""

    span: int
    """Tiles on its side at most."""
    tile_px: int
    halo_px: int

    def of(self, rows: int, columns: int) -> int:
        """Give the pixels of a window of so many tiles, `_NEVER` if it would be too large."""
        if max(rows, columns) > self.span:
            return _NEVER
        return (rows * self.tile_px + 2 * self.halo_px) * (columns * self.tile_px + 2 * self.halo_px)


def cheapest_cut(wanted: npt.NDArray[np.bool_], pixels: Pixels) -> list[Rectangle]:
    """Cut the wanted tiles into windows that together have the fewest pixels.

    Parameters
    ----------
    wanted
        (rows, columns) of a block.

    Returns
    -------
    Rectangles that do not overlap and hold every wanted tile, in order of their places.
    """
    costs = _costs(wanted, pixels)
    return sorted(_parts((0, 0, *wanted.shape), costs, pixels))


def _costs(wanted: npt.NDArray[np.bool_], pixels: Pixels) -> Costs:
    """Find the cost of every rectangle, those of one size together, small ones first."""
    height, width = wanted.shape
    total = np.zeros((height + 1, width + 1), np.int64)
    total[1:, 1:] = wanted.cumsum(0).cumsum(1)
    costs: Costs = {}
    for rows, columns in np.ndindex(height, width):
        size = rows + 1, columns + 1
        inside = (
            total[size[0] :, size[1] :] - total[: -size[0], size[1] :]
            - total[size[0] :, : -size[1]] + total[: -size[0], : -size[1]]
        )  # fmt: skip
        cost: npt.NDArray[np.int64] = np.full(inside.shape, pixels.of(*size), np.int64)
        for (first, second), (down, right) in _cuts(*size):
            beyond = costs[second][down:, right:]
            np.minimum(cost, costs[first][: len(cost), : cost.shape[1]] + beyond, out=cost)
        costs[size] = np.where(inside, cost, 0)
    return costs


def _cuts(rows: int, columns: int) -> Iterator[tuple[tuple[tuple[int, int], tuple[int, int]], tuple[int, int]]]:
    """Give each way to cut a rectangle in two: the sizes of both parts, and where the second begins.

    Large first parts come first: of equal costs that makes full windows, of one shape, and leaves the rest last.
    """
    for row in reversed(range(1, rows)):
        yield ((row, columns), (rows - row, columns)), (row, 0)
    for column in reversed(range(1, columns)):
        yield ((rows, column), (rows, columns - column)), (0, column)


def _parts(whole: Rectangle, costs: Costs, pixels: Pixels) -> Iterator[Rectangle]:
    """Give the windows of a rectangle's cheapest cut."""
    top, left, *size = whole
    cost = costs[size[0], size[1]][top, left]
    if cost == 0:
        return
    if cost == pixels.of(*size):
        yield whole
        return
    for (first, second), (down, right) in _cuts(*size):
        if cost == costs[first][top, left] + costs[second][top + down, left + right]:
            yield from _parts((top, left, *first), costs, pixels)
            yield from _parts((top + down, left + right, *second), costs, pixels)
            return
