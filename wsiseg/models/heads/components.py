"""Connected components that are known to be whole: the building block of a local decoding.

A component can be as long as the slide, so a rule that depends on whole components is not local. A rule that
depends only on components *within a stated extent* is: whoever sees `extent_px` pixels around a pixel sees either
the pixel's whole component, or enough of it to know that it is too large. Every user therefore asks `Sizes.within`
before it trusts a component.

All work is on lists of the mask's pixels and on their runs, which are twenty times fewer; none is on empty glass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Foreground:
    """The set pixels of a mask as a list, row by row.

    The list begins with a pixel of background, and each run of the mask is followed by one. So the neighbours to
    the left and right of a set pixel are those beside it in the list.
    """

    flat: Indices
    """(n,): flat index of each listed pixel in the image."""
    below: npt.NDArray[np.int32]
    """(n,): place in the list of the pixel below, 0 where that is not listed."""
    inside: npt.NDArray[np.bool_]
    """(n,): whether the pixel is set."""
    shape: tuple[int, int]
    """(h, w) of the image."""

    @classmethod
    def of(cls, mask: npt.NDArray[np.bool_]) -> Foreground:
        """List the set pixels of an (h, w) mask that has a frame of background."""
        listed = mask.copy()
        listed[:, 1:] |= mask[:, :-1]
        listed[0, 0] = True
        flat = np.flatnonzero(listed)
        place = np.zeros(mask.size, np.int32)
        place[flat] = np.arange(len(flat), dtype=np.int32)
        return cls(flat, place[flat + mask.shape[1]], mask.ravel()[flat], mask.shape)

    def above(self) -> npt.NDArray[np.int32]:
        """Give the place in the list of each pixel's upper neighbour, 0 where that is not listed."""
        above = np.zeros_like(self.below)
        above[self.below] = np.arange(len(above), dtype=np.int32)
        above[0] = 0
        return above

    def image(self, labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Put labels of the listed pixels, 0 for the background, into an image without the frame."""
        image = np.zeros(self.shape, np.int32)
        image.ravel()[self.flat] = labels
        return image[1:-1, 1:-1]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of listed pixels that have the same label."""

    start: Indices
    """(m,): place of the first pixel in the list."""
    stop: Indices
    """(m,): place after the last."""
    label: npt.NDArray[np.int32]
    """(m,): from 1."""

    @classmethod
    def of(cls, labels: npt.NDArray[Any]) -> Runs:
        """Find the runs of equal labels in a list, 0 = none."""
        edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
        label = labels[edges[:-1]]
        inside = label > 0
        return cls(edges[:-1][inside], edges[1:][inside], label[inside].astype(np.int32))

    def spread(self, values: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int32]:
        """Give each of `count` listed pixels the value of its label, 0 outside of all runs."""
        own = values[self.label]
        steps = np.zeros(count, np.int32)
        steps[self.start] = own
        steps[self.stop] -= own
        return np.cumsum(steps, out=steps)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of numbered sets of pixels; row 0, the background, means nothing."""

    area_px: npt.NDArray[np.float64]
    extent_px: npt.NDArray[np.intp]
    """The longer side of each bounding box."""

    @classmethod
    def of(cls, runs: Runs, foreground: Foreground) -> Sizes:
        """Measure the labels of runs."""
        length = runs.stop - runs.start
        area = np.bincount(runs.label, weights=length, minlength=1)
        row, column = np.divmod(foreground.flat[runs.start], foreground.shape[1])
        longest = np.zeros(len(area), np.intp)
        for first, after in ((row, row + 1), (column, column + length)):
            low = np.full(len(area), np.iinfo(np.intp).max)
            high = np.full(len(area), -1)
            np.minimum.at(low, runs.label, first)
            np.maximum.at(high, runs.label, after)
            np.maximum(longest, high - low, out=longest, where=high >= 0)
        return cls(area, longest)

    def within(self, min_area_px: float, max_extent_px: int) -> npt.NDArray[np.bool_]:
        """Tell for each label whether its size lies within the limits; never for the background."""
        fits = (self.area_px >= min_area_px) & (self.extent_px <= max_extent_px)
        fits[0] = False
        return fits


@dataclass(frozen=True, slots=True)
class Components:
    """The 4-connected components of some of the listed pixels."""

    runs: Runs
    """Labelled by component, from 1 in no particular order."""
    number: npt.NDArray[np.int32]
    """(n,): how many runs have begun up to each listed pixel."""

    @classmethod
    def of(
        cls, inside: npt.NDArray[np.bool_], crossing: npt.NDArray[np.bool_], foreground: Foreground
    ) -> Components:
        """Find the components.

        Parameters
        ----------
        inside
            (n,): the listed pixels to look at, never one of background.
        crossing
            (n,): where both a pixel and the one below are among them.
        """
        runs = Runs.of(inside)
        number = np.zeros(len(inside), np.int32)
        number[runs.start] = 1
        np.cumsum(number, out=number)
        # Two runs that touch do so in one stretch, which begins once.
        first = np.flatnonzero(crossing[1:] > crossing[:-1]) + 1
        upper, lower = number[first] - 1, number[foreground.below[first]] - 1
        root = _joined(len(runs.start), upper, lower)
        names = np.cumsum(root == np.arange(len(root)), dtype=np.int32)
        return cls(Runs(runs.start, runs.stop, names[root]), number)

    def at(self, places: Indices) -> npt.NDArray[np.int32]:
        """Give the component at places of the list, each in one."""
        return self.runs.label[self.number[places] - 1]

    def __len__(self) -> int:
        return int(self.runs.label.max(initial=0))


def _joined(count: int, upper: npt.NDArray[np.int32], lower: npt.NDArray[np.int32]) -> Indices:
    """Give each of `count` runs the first run that it is connected to, by the pairs that touch.

    Hooking and pointer jumping (Shiloach and Vishkin 1982): every round joins each tree to the first one that it
    touches, and then lets all runs point to their tree's root.
    """
    root = np.arange(count)
    while len(upper):
        np.minimum.at(root, np.maximum(upper, lower), np.minimum(upper, lower))
        while (further := root[root]).tobytes() != root.tobytes():
            root = further
        upper, lower = root[upper], root[lower]
        apart = upper != lower
        upper, lower = upper[apart], lower[apart]
    return root


def framed(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give an (h, w) image with a frame of background, one pixel wide."""
    wider = np.zeros((image.shape[0] + 2, image.shape[1] + 2), image.dtype)
    wider[1:-1, 1:-1] = image
    return wider


def numbered(kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Give the kept rows the numbers 1..n, in their order, and the others 0."""
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)
