"""Connected components that are known to be whole: the building block of a local decoding.

A component can be as long as the slide, so a rule that depends on whole components is not local. A rule that
depends only on components *within a stated extent* is: whoever sees `extent_px` pixels around a pixel sees either
the pixel's whole component, or enough of it to know that it is too large. Every user therefore asks `Sizes.within`
before it trusts a component.

All work is on lists of the mask's pixels and on their runs, which are twenty times fewer; none is on empty glass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.labels import Labels
from wsiseg.nuclei import expand_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from wsiseg.geometry import Box

    Indices = npt.NDArray[np.intp]

_STRIP_ROWS = 64
"""Rows of an image that are looked at together: a few MB, which stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Pixels of an image that stand side by side in a row, with a pixel of background after each span."""

    first: npt.NDArray[np.int32]
    """(m,): flat index of each span's first pixel, in order."""
    after: npt.NDArray[np.int32]
    """(m,): flat index after its last one."""
    upper: Indices
    """(k,): of each pair of a span and one of the row below that touches it, the number of the upper one."""
    lower: Indices
    """(k,): the number of the lower one; pairs are in the order of their upper spans."""

    @classmethod
    def of(cls, first: npt.NDArray[np.int32], after: npt.NDArray[np.int32], width: int) -> Spans:
        """Find which spans of an image that is `width` wide touch each other."""
        lowest = np.searchsorted(after, first + width, "right")
        counts = np.searchsorted(first, after + width) - lowest
        return cls(first, after, np.repeat(np.arange(len(first)), counts), expand_ranges(lowest, counts))

    def components(self) -> Indices:
        """Give each span the first one that it is connected to.

        Hooking and pointer jumping (Shiloach and Vishkin 1982): every round joins each tree to the first one that
        it touches, and then lets all spans point to their tree's root.
        """
        upper, lower = self.upper, self.lower
        root: Indices = np.arange(len(self.first))
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

    def beside(self, area: Box, width: int) -> Spans:
        """Leave out each component that lies wholly above, below, left or right of an area of the image."""
        root = self.components()
        y, x = np.divmod(self.first, np.int32(width))
        stop = x + self.after - self.first
        kept = np.ones(len(root), np.bool_)
        for not_beyond in (y < area.bottom, y >= area.y, x < area.right, stop > area.x):
            reaching = np.zeros(len(root), np.bool_)
            reaching[root[not_beyond]] = True
            kept &= reaching[root]
        number = np.cumsum(kept) - 1
        both = kept[self.upper]  # a pair is of one component
        return Spans(self.first[kept], self.after[kept], number[self.upper[both]], number[self.lower[both]])


@dataclass(frozen=True, slots=True)
class Foreground:
    """The set pixels of a mask as a list, row by row.

    The list begins with a pixel of background, and each run of the mask is followed by one. So the neighbours to
    the left and right of a set pixel are those beside it in the list.
    """

    flat: npt.NDArray[np.int32]
    """(n,): flat index of each listed pixel in the framed image; int32, as the list is the most of the memory."""
    inside: npt.NDArray[np.bool_]
    """(n,): whether the pixel is set."""
    shape: tuple[int, int]
    """(h + 2, w + 2): the image has a frame of background, so that every set pixel has four neighbours."""
    spans: Spans
    """The set pixels of the image."""

    @classmethod
    def of(cls, image: npt.NDArray[np.integer], threshold: int, area: Box | None = None) -> Foreground:
        """List the pixels of an (h, w) image that reach a threshold.

        Parameters
        ----------
        area
            Components that lie wholly above, below, left or right of it are left out; by default none is.
        """
        shape = image.shape[0] + 2, image.shape[1] + 2
        spans = Spans.of(*_edges(image, threshold), shape[1])
        if area is not None:
            spans = spans.beside(area.moved(1, 1), shape[1])
        length = spans.after - spans.first
        start = _listed(spans)
        flat = np.repeat(np.append(np.int32(0), spans.first - start), np.append(1, length + 1))
        flat += np.arange(len(flat), dtype=np.int32)
        inside = np.ones(len(flat), np.bool_)
        inside[0] = False
        inside[start + length] = False
        return cls(flat, inside, shape, spans)

    def strips(self) -> Iterator[tuple[slice, slice]]:
        """Give the rows of the image without its frame, some at a time, and the places of their listed pixels.

        What is made of the image for a strip stays in the processor's cache.
        """
        rows, width = self.shape[0] - 2, self.shape[1]
        edges = [*range(0, rows, _STRIP_ROWS), rows]
        places = np.searchsorted(self.flat, np.array([(edge + 1) * width for edge in edges], np.int32)).tolist()
        for row, listed in zip(pairwise(edges), pairwise(places), strict=True):
            yield slice(*row), slice(*listed)

    def above_and_below(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Give the places in the list of the pixels above and below each; its own where they are not set."""
        first, after, upper, lower = self.spans.first, self.spans.after, self.spans.upper, self.spans.lower
        width = self.shape[1]
        start = _listed(self.spans)
        shift = first - start  # from a place in the list to the image
        begin = np.maximum(first[upper], first[lower] - width) - shift[upper]
        end = np.minimum(after[upper], after[lower] - width) - shift[upper]
        # Wherever two spans touch, what lies below is as much further in the list.
        step = shift[upper] - shift[lower] + width
        places = np.arange(len(self.flat), dtype=np.int32)
        below = places + Runs(begin, end, step).listed(len(places))
        above = places - Runs(begin + step, end + step, step).listed(len(places))
        return above, below

    def labels(self, runs: Runs) -> Labels:
        """Give the labels that runs of the list are in the image."""
        y, x = np.divmod(self.flat[runs.start], np.int32(self.shape[1]))
        columns = (runs.label, y - 1, x - 1, x - 1 + runs.stop - runs.start)
        return Labels(np.stack(columns, axis=1).astype(np.int32), (self.shape[0] - 2, self.shape[1] - 2))


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of listed pixels that have the same label."""

    start: npt.NDArray[np.integer]
    """(m,): place of the first pixel in the list."""
    stop: npt.NDArray[np.integer]
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
    """Labelled by component, from 1 in the order of their first pixels."""
    first: Indices
    """Place of each component's first pixel."""

    @classmethod
    def of(
        cls, inside: npt.NDArray[np.bool_], foreground: Foreground, places: npt.NDArray[np.integer] | None = None
    ) -> Components:
        """Find the components.

        Parameters
        ----------
        inside
            (n,): the listed pixels to look at, never one of background.
        places
            (n,): where these stand in the list; by default they are all of it.
        """
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        start, length = edges[::2], edges[1::2] - edges[::2]
        start = start if places is None else places[start].astype(np.intp)
        stop = start + length
        first = foreground.flat[start]
        after = first + length.astype(np.int32)
        root = Spans.of(first, after, foreground.shape[1]).components()
        is_root = root == np.arange(len(root))
        names = np.cumsum(is_root, dtype=np.int32)
        return cls(Runs(start, stop, names[root]), start[is_root])

    def at(self, places: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """Give the component at places of the list, 0 where there is none."""
        if len(self) == 0:
            return np.zeros(len(places), np.int32)
        run = np.searchsorted(self.runs.start, places, "right") - 1
        return np.where((run >= 0) & (places < self.runs.stop[run]), self.runs.label[run], 0)

    def __len__(self) -> int:
        return len(self.first)


def _edges(image: npt.NDArray[np.integer], threshold: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Give where the spans of pixels that reach a threshold begin and end: flat indices of the framed image."""
    height, width = image.shape
    framed = np.zeros((_STRIP_ROWS, width + 2), np.bool_)
    edges = [np.zeros(0, np.int32)]
    for top in range(0, height, _STRIP_ROWS):
        part = image[top : top + _STRIP_ROWS]
        np.greater_equal(part, threshold, out=framed[: len(part), 1:-1])
        flat = framed[: len(part)].ravel()
        edges.append((np.flatnonzero(flat[1:] != flat[:-1]) + (1 + (top + 1) * (width + 2))).astype(np.int32))
    both = np.concatenate(edges)
    return both[::2], both[1::2]


def _listed(spans: Spans) -> npt.NDArray[np.int32]:
    """Give the place of each span's first pixel in a list as `Foreground` has it."""
    length = spans.after - spans.first
    return np.cumsum(length + 1, dtype=np.int32) - length


def beginnings(chosen: npt.NDArray[np.bool_]) -> Indices:
    """Give the places in a list where the chosen pixels begin; the first pixel is never chosen."""
    return np.flatnonzero(chosen[1:] > chosen[:-1]) + 1


def numbered(kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Give the kept rows the numbers 1..n, in their order, and the others 0."""
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)
