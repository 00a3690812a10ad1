"""One slide read by many threads: a handle a thread, and a fresh handle after an error."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wsiseg.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from wsiseg.slides.base import Handle, SlideInfo


class SlidePool:
    """A `Slide` that any number of threads may read at once.

    tiffslide's handles are not thread-safe, and an OpenSlide handle refuses everything after its first bad tile;
    so each thread has its own handle, opened on first use, and a read that fails is tried once more on a fresh
    one. Only a region that fails on a fresh handle is unreadable.

    Parameters
    ----------
    open_handle
        Opens the slide; called at once for the first handle, later in the threads that read.
    """

    def __init__(self, open_handle: Callable[[], Handle]) -> None:
        self._open_handle = open_handle
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._handles: list[Handle] = []
        self._closed = False
        self.info: SlideInfo = self._handle().info

    def read_region(
        self,
        location: tuple[int, int],
        level: int,
        size: tuple[int, int],
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Read pixels of one level through this thread's handle; see `wsiseg.slides.base.Handle`."""
        try:
            return self._handle().read_region(location, level, size, out)
        except SlideError as error:
            if error.code != "E-SLIDE-READ" or self._closed:
                raise
        self._discard()
        return self._handle().read_region(location, level, size, out)

    def close(self) -> None:
        """Close the handles of all threads; no thread may be reading."""
        with self._lock:
            self._closed = True
            while self._handles:
                self._handles.pop().close()

    def _handle(self) -> Handle:
        handle: Handle | None = getattr(self._mine, "handle", None)
        if handle is not None:
            return handle
        with self._lock:
            if self._closed:
                raise SlideError("E-SLIDE-READ", "the slide is closed", where=self.info.path)
            handle = self._open_handle()
            self._handles.append(handle)
        self._mine.handle = handle
        return handle

    def _discard(self) -> None:
        handle: Handle = self._mine.handle
        self._mine.handle = None
        with self._lock:
            self._handles.remove(handle)
        handle.close()
