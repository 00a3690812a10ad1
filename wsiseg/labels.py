"""Labels as runs of pixels: what a label image says, without its background, which is most of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Labels:
    """The labelled pixels of an (h, w) image."""

    runs: npt.NDArray[np.int32]
    """(m, 4): label, y, first x, x after the last; row by row, with no two of one label side by side."""
    shape: tuple[int, int]
    """(h, w)."""

    @classmethod
    def of(cls, image: npt.NDArray[np.integer]) -> Labels:
        """Find the runs of an (h, w) label image, 0 = background."""
        height, width = image.shape
        # A run ends where the label changes and at the end of its row.
        ends = np.ones((height, width + 1), bool)
        np.not_equal(image[:, 1:], image[:, :-1], out=ends[:, 1:-1])
        y, x = np.divmod(np.flatnonzero(ends), width + 1)
        first = np.flatnonzero(x < width)
        first = first[image[y[first], x[first]] > 0]
        label = image[y[first], x[first]]
        return cls(np.stack((label, y[first], x[first], x[first + 1]), axis=1).astype(np.int32), (height, width))

    def image(self) -> npt.NDArray[np.int32]:
        """Give the (h, w) label image, 0 = background."""
        height, width = self.shape
        label, y, first, after = self.runs.T
        steps = np.zeros((height, width + 1), np.int32)
        steps[y, first] = label
        steps[y, after] -= label
        return np.cumsum(steps, axis=1, out=steps)[:, :-1]
