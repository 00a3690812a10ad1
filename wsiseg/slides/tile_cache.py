"""The tiles that were decoded last, for all threads that read a slide. Knows no files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np
    import numpy.typing as npt


class TileCache:
    """Keeps pixels up to a number of bytes, and forgets those first that were not asked for the longest.

    Parameters
    ----------
    most_bytes
        What all pixels together may take.
    """

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes
        self._tiles: OrderedDict[Hashable, npt.NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> npt.NDArray[np.uint8] | None:
        """Give a tile's pixels, if they are still here; not to be changed."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def keep(self, key: Hashable, pixels: npt.NDArray[np.uint8]) -> None:
        """Remember a tile's pixels."""
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = pixels
                self._room -= pixels.nbytes
            while self._room < 0:
                _, oldest = self._tiles.popitem(last=False)
                self._room += oldest.nbytes
