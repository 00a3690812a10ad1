"""Connected components that are known to be whole: the building block of a local decoding.

A component can be as long as the slide, so a rule that depends on whole components is not local. A rule that
depends only on components *within a stated extent* is: whoever sees `extent_px` pixels around a pixel sees either
the pixel's whole component, or enough of it to know that it is too large. Every user therefore asks `Sizes.within`
before it trusts a component.

All work is on lists of the mask's pixels and on their runs, which are twenty times fewer; none is on empty glass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Indices = npt.NDArray[np.intp]

_STRIP_ROWS = 64
"""Rows of an image that are looked at together: a few MB, which stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Foreground:
    """The set pixels of a mask as a list, row by row.

    The list begins with a pixel of background, and each run of the mask is followed by one. So the neighbours to
    the left and right of a set pixel are those beside it in the list.
    """

    flat: npt.NDArray[np.int32]
    """(n,): flat index of each listed pixel in the framed image; int32, as the list is the most of the memory."""
    below: npt.NDArray[np.int32]
    """(n,): place in the list of the pixel below, 0 where that is not listed."""
    inside: npt.NDArray[np.bool_]
    """(n,): whether the pixel is set."""
    shape: tuple[int, int]
    """(h + 2, w + 2): the image has a frame of background, so that every set pixel has four neighbours."""

    @classmethod
    def of(cls, mask: npt.NDArray[np.bool_]) -> Foreground:
        """List the set pixels of an (h, w) mask."""
        height, width = mask.shape
        framed = np.zeros((height + 2, width + 2), np.bool_)
        framed[1:-1, 1:-1] = mask
        listed = framed.copy()
        listed[:, 1:] |= framed[:, :-1]
        listed[0, 0] = True
        flat = np.flatnonzero(listed).astype(np.int32)
        return cls(flat, _places_below(flat, framed.shape), framed.ravel()[flat], framed.shape)

    def strips(self) -> Iterator[tuple[slice, slice]]:
        """Give the rows of the image without its frame, some at a time, and the places of their listed pixels.

        What is made of the image for a strip stays in the processor's cache.
        """
        return _strips(self.flat, self.shape)

    def above(self) -> npt.NDArray[np.int32]:
        """Give the place in the list of each pixel's upper neighbour, 0 where that is not listed."""
        above = np.zeros_like(self.below)
        above[self.below] = np.arange(len(above), dtype=np.int32)
        above[0] = 0
        return above

    def labels(self, runs: Runs) -> Labels:
        """Give the labels that runs of the list are in the image."""
        y, x = np.divmod(self.flat[runs.start], np.int32(self.shape[1]))
        columns = (runs.label, y - 1, x - 1, x - 1 + runs.stop - runs.start)
        return Labels(np.stack(columns, axis=1).astype(np.int32), (self.shape[0] - 2, self.shape[1] - 2))


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
    def of(cls, labels: npt.NDArray[np.int32]) -> Runs:
        """Find the runs of equal labels in a list, 0 = none."""
        edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
        label = labels[edges[:-1]]
        inside = label > 0
        return cls(edges[:-1][inside], edges[1:][inside], label[inside])

    @classmethod
    def joined(cls, parts: Sequence[Runs]) -> Runs:
        """Put runs that have no pixel in common into one list, in order."""
        start = np.concatenate([part.start for part in parts])
        order = np.argsort(start)
        stop = np.concatenate([part.stop for part in parts])
        label = np.concatenate([part.label for part in parts])
        return cls(start[order], stop[order], label[order])

    def renamed(self, names: npt.NDArray[np.int32]) -> Runs:
        """Give the runs with the name of each label; those of name 0 are left out."""
        name = names[self.label]
        kept = name > 0
        return Runs(self.start[kept], self.stop[kept], name[kept])

    def listed(self, count: int) -> npt.NDArray[np.int32]:
        """Give the label of each of `count` listed pixels, 0 outside of all runs; these must be in order."""
        ends = np.stack((self.start, self.stop), axis=1).ravel()
        labels = np.zeros(len(ends) + 1, np.int32)
        labels[1::2] = self.label
        return np.repeat(labels, np.diff(ends, prepend=0, append=count))


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of numbered sets of pixels; row 0, the background, means nothing."""

    area_px: Indices
    extent_px: Indices
    """The longer side of each bounding box."""

    @classmethod
    def of(cls, runs: Runs, foreground: Foreground) -> Sizes:
        """Measure the labels of runs."""
        length = runs.stop - runs.start
        area = np.bincount(runs.label, weights=length, minlength=1).astype(np.intp)
        # Of one type with what they are compared with, or `ufunc.at` takes ten times as long.
        row, column = np.divmod(foreground.flat[runs.start].astype(np.intp), foreground.shape[1])
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
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        start, stop = edges[::2], edges[1::2]
        begun = np.arange(len(start) + 1, dtype=np.int32)
        number = np.repeat(begun, np.diff(start, prepend=0, append=len(inside)))
        # Two runs that touch do so in one stretch, which begins once.
        first = beginnings(crossing)
        upper, lower = number[first] - 1, number[foreground.below[first]] - 1
        root = _joined(len(start), upper, lower)
        names = np.cumsum(root == np.arange(len(root)), dtype=np.int32)
        return cls(Runs(start, stop, names[root]), number)

    def at(self, places: Indices) -> npt.NDArray[np.int32]:
        """Give the component at places of the list, each in one."""
        return self.runs.label[self.number[places] - 1]

    def __len__(self) -> int:
        return int(self.runs.label.max(initial=0))


def _joined(count: int, upper: npt.NDArray[np.integer], lower: npt.NDArray[np.integer]) -> Indices:
    """Give each of `count` runs the first run that it is connected to, by the pairs that touch.

    Hooking and pointer jumping (Shiloach and Vishkin 1982): every round joins each tree to the first one that it
    touches, and then lets all runs point to their tree's root.
    """
    root: Indices = np.arange(count)
    root[lower[::-1]] = upper[::-1]  # the pairs are sorted, so the first of several is the last to be written
    while True:
        while (further := root[root]).tobytes() != root.tobytes():
            root = further
        upper, lower = root[upper], root[lower]
        apart = upper != lower
        if not apart.any():
            return root
        upper, lower = upper[apart], lower[apart]
        np.minimum.at(root, np.maximum(upper, lower), np.minimum(upper, lower))


def _strips(flat: npt.NDArray[np.int32], shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Give the rows of an image, some at a time, and the places of their pixels in the list of a framed image."""
    rows = shape[0] - 2
    tops = range(0, rows, _STRIP_ROWS)
    firsts = np.array([(top + 1) * shape[1] for top in (*tops, rows)], np.int32)
    places = np.searchsorted(flat, firsts)
    for top, first, after in zip(tops, places[:-1].tolist(), places[1:].tolist(), strict=True):
        yield slice(top, min(top + _STRIP_ROWS, rows)), slice(first, after)


def _places_below(flat: npt.NDArray[np.int32], shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Give the place in the list of the pixel below each, 0 where that is not listed."""
    width = shape[1]
    below = np.zeros(len(flat), np.int32)
    image = np.empty((_STRIP_ROWS + 1) * width, np.int32)
    for rows, listed in _strips(flat, shape):
        after = int(np.searchsorted(flat, np.int32((rows.stop + 2) * width)))  # one row more
        pixels = flat[listed.start : after].astype(np.intp) - (rows.start + 1) * width
        image.fill(0)
        image[pixels] = np.arange(listed.start, after)
        below[listed] = image[pixels[: listed.stop - listed.start] + width]
    return below


def beginnings(chosen: npt.NDArray[np.bool_]) -> Indices:
    """Give the places in a list where the chosen pixels begin; the first pixel is never chosen."""
    return np.flatnonzero(chosen[1:] > chosen[:-1]) + 1


def numbered(kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Give the kept rows the numbers 1..n, in their order, and the others 0."""
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)
