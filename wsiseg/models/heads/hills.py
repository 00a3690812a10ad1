"""The core of a head as hills over the mask's pixels: which way is up, who stands where, who spreads to whom.

All are steps from a pixel to one of its four neighbours, done for many pixels at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from wsiseg.models.heads.components import Foreground

_AT_ONCE = 1 << 14
"""Pixels that look at their neighbours together."""


class Hills:
    """The smoothed core over the mask's pixels, as a list; 0 for the background."""

    def __init__(self, foreground: Foreground, heights: npt.NDArray[np.uint16]) -> None:
        self.foreground = foreground
        self.heights = heights
        self._above, self._below = foreground.above_and_below()

    def _neighbours(self, places: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.integer]]:
        """Give the places of the neighbours; this fixed order decides between those of equal height.

        In place of one above or below that is background stands the pixel itself.
        """
        yield self._above.take(places)
        yield places - 1
        yield places + 1
        yield self._below.take(places)

    def climb(self, seed: npt.NDArray[np.int32], doublings: int) -> npt.NDArray[np.int32]:
        """Give each pixel the seed that it meets within 2 ** doublings steps uphill, or 0."""
        waiting = np.flatnonzero(self.foreground.inside & (seed == 0))
        target = np.arange(len(seed), dtype=np.int32)
        for part in _pieces(waiting):
            target[part] = self._uphill(part)
        climbing = waiting
        for _ in range(doublings):
            reached = target.take(climbing)
            further = target.take(reached)
            # Who does not come further has met a seed or stands on top.
            moved = further != reached
            climbing = climbing[moved]
            target[climbing] = further[moved]
        found = seed.copy()
        found[waiting] = seed.take(target.take(waiting))
        return found

    def _uphill(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Give the place of each one's highest neighbour, or its own where none is higher."""
        highest = places.copy()
        best = self.heights.take(places)
        for neighbour in self._neighbours(places):
            height = self.heights.take(neighbour)
            np.copyto(highest, neighbour, where=height > best)
            np.maximum(best, height, out=best)
        return highest

    def summits(self) -> npt.NDArray[np.bool_]:
        """Mark the pixels that have no higher neighbour."""
        heights = self.heights
        highest = self.foreground.inside.copy()
        highest[1:] &= heights[1:] >= heights[:-1]
        highest[:-1] &= heights[:-1] >= heights[1:]
        places = np.flatnonzero(highest)
        beside = np.maximum(*(heights.take(each.take(places)) for each in (self._above, self._below)))
        highest[places] = heights.take(places) >= beside
        return highest

    def spread(self, labels: npt.NDArray[np.int32], layers: int) -> npt.NDArray[np.int32]:
        """Let labels grow into unlabelled pixels, each to the label of its highest labelled neighbour."""
        grown = labels.copy()
        waiting = np.flatnonzero(self.foreground.inside & (labels == 0))
        for _ in range(layers):
            gained = np.zeros(len(waiting), np.int32)
            best = np.zeros(len(waiting), self.heights.dtype)
            for neighbour in self._neighbours(waiting):
                label = grown.take(neighbour)
                height = self.heights.take(neighbour) * (label > 0)
                np.copyto(gained, label, where=height > best)
                np.maximum(best, height, out=best)
            if not gained.any():
                break
            grown[waiting] = gained
            waiting = waiting[gained == 0]
        return grown


def _pieces(places: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    """Cut a list into pieces that stay in the processor's cache, with what is made of them."""
    return (places[first : first + _AT_ONCE] for first in range(0, len(places), _AT_ONCE))
