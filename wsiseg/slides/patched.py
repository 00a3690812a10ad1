"""A slide in which unreadable places look like its background, and are remembered. Knows no tiles of a run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.errors import SlideError
from wsiseg.geometry import Box
from wsiseg.slides.handles import level_box

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from wsiseg.slides.base import Slide, SlideInfo

PATCH_PX = 256
"""Side of the squares, px of the level, in which a region that cannot be read whole is read: slides have tiles of
240 to 512 px, so a bad one costs little more than itself."""


class PatchedSlide:
    """A `Slide` whose reads never fail because of single tiles; for as many threads as the slide behind it.

    Parameters
    ----------
    slide
        One that can be read after a read failed, as a `ContainedSlide` can.
    """

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self._lock = threading.Lock()
        self._lost: set[tuple[int, int, int]] = set()
        """(level, x, y) of squares that could not be read: a read that hangs must not hang again."""
        self.info: SlideInfo = slide.info

    def lost(self, level: int) -> npt.NDArray[np.float64]:
        """Give what could not be read of a level so far: (n, 4) left, top, right and bottom in level-0 pixels."""
        with self._lock:
            corners = sorted((x, y) for where, x, y in self._lost if where == level)
        squares = np.array([(x, y, x + PATCH_PX, y + PATCH_PX) for x, y in corners], np.float64).reshape(-1, 4)
        squares *= self.info.levels[level].downsample
        return squares

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Read pixels of one level; see `wsiseg.slides.base.Slide`."""
        box = level_box(self.info.levels[level], location, size)
        with self._lock:
            whole = not any((level, square.x, square.y) in self._lost for square in _squares(box))
        if whole:
            try:
                return self._slide.read_region(location, level, size)
            except SlideError as error:
                if error.code != "E-SLIDE-READ":
                    raise
        pixels = np.empty((*box.shape, 3), np.uint8)
        for square in _squares(box):
            part = square.intersection(box)
            pixels[part.moved(-box.x, -box.y).slices] = self._read(square, part, level)
        return pixels

    def close(self) -> None:
        """Close the slide behind it."""
        self._slide.close()

    def _read(self, square: Box, part: Box, level: int) -> npt.NDArray[np.uint8]:
        """Read a square and give a part of it; the background if it is lost."""
        frame, key = self.info.levels[level], (level, square.x, square.y)
        inside = square.intersection(frame.box)
        with self._lock:
            known = key in self._lost
        if not known:
            corner = round(inside.x * frame.downsample), round(inside.y * frame.downsample)
            try:
                pixels = self._slide.read_region(corner, level, (inside.width, inside.height))
                return pixels[part.moved(-inside.x, -inside.y).slices]
            except SlideError as error:
                if error.code != "E-SLIDE-READ":
                    raise
            with self._lock:
                self._lost.add(key)
        return np.full((*part.shape, 3), self.info.background, np.uint8)


def _squares(box: Box) -> Iterator[Box]:
    """Give the squares of a fixed lattice that a box touches: what is lost does not depend on who asked."""
    for y in range(box.y // PATCH_PX * PATCH_PX, box.bottom, PATCH_PX):
        for x in range(box.x // PATCH_PX * PATCH_PX, box.right, PATCH_PX):
            yield Box(x, y, PATCH_PX, PATCH_PX)
