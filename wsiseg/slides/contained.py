"""A slide that is read by another process, so that a hostile file can end that one and nothing else.

When the process dies or takes too long, each read that was under way is tried once more in a process of its own:
so one bad region costs one region, and not those that happened to be read beside it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.errors import SlideError
from wsiseg.geometry import Box
from wsiseg.slides.handles import HandleGuard, level_box, read_error
from wsiseg.slides.process import Died, ReaderProcess
from wsiseg.slides.shared import SLOT_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.slides.base import SlideInfo
    from wsiseg.slides.process import Opening


class ContainedSlide:
    """A `Slide` that any number of threads may read at once; see `wsiseg.slides.base.Slide`.

    Raises
    ------
    SlideError
        The reader refuses the slide; E-POISON if the slide ended the reader's process, twice.
    ResourceError
        E-IO: the reader's process does not start.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._guard = HandleGuard(opening.path)
        self._lock = threading.Lock()
        self._process = self._open()
        self.info: SlideInfo = self._process.info

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Read pixels of one level; see `wsiseg.slides.base.Slide`."""
        self._guard.check()
        box = level_box(self.info.levels[level], location, size)
        rows = max(SLOT_BYTES // (3 * box.width), 1)
        if box.height <= rows:
            return self._read(box, level)
        strips = (Box(box.x, y, box.width, min(rows, box.bottom - y)) for y in range(box.y, box.bottom, rows))
        return np.concatenate([self._read(strip, level) for strip in strips])

    def close(self) -> None:
        """End the process; no thread may be reading."""
        with self._lock:
            if not self._guard.closed:
                self._guard.closed = True
                self._process.close()

    def _read(self, box: Box, level: int) -> npt.NDArray[np.uint8]:
        try:
            return self._living().read(box, level)
        except Died:
            pass  # whose fault it was shows when the read is alone
        try:
            alone = ReaderProcess(self._opening)
            try:
                return alone.read(box, level)
            finally:
                alone.close()
        except Died as reason:
            raise read_error(self.info.path, box, level, reason) from None

    def _living(self) -> ReaderProcess:
        """Give the process; a new one if it died."""
        with self._lock:
            if not self._process.alive:
                self._process.close()
                self._process = self._open()
            return self._process

    def _open(self) -> ReaderProcess:
        try:
            return ReaderProcess(self._opening)
        except Died:
            pass  # a machine short of memory ends processes too
        try:
            return ReaderProcess(self._opening)
        except Died as reason:
            what = f"the slide ends the process that opens it ({reason})"
            raise SlideError("E-POISON", what, where=self._opening.path, fix="try another --reader") from None
