"""The objects that labels are, as runs of pixels in the model's frame, and which block owns each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.nuclei import take_runs

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.labels import Labels


@dataclass(frozen=True, eq=False)
class Objects:
    """n objects as sorted runs, with the point that decides who owns each."""

    runs: npt.NDArray[np.int32]
    """As `Nuclei.runs`: object, y, first x, x after the last; every object has at least one."""
    starts: npt.NDArray[np.intp]
    """(n,) index of each object's first run, which holds its first pixel, row by row."""
    anchor: npt.NDArray[np.int32]
    """(n, 2): the whole part of the mean pixel (x, y). It may lie beside a curved object; it is only a point."""

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of_runs(cls, runs: npt.NDArray[np.int32], count: int) -> Objects:
        """Find the anchors of objects given as sorted runs, in whole numbers: no window changes a bit of them."""
        if count == 0:
            return cls(runs, np.empty(0, np.intp), np.empty((0, 2), np.int32))
        starts = np.searchsorted(runs[:, 0], np.arange(count))
        y, left, right = runs[:, 1:].astype(np.int64).T
        lengths = right - left
        pixels = np.add.reduceat(lengths, starts)
        sum_y = np.add.reduceat(y * lengths, starts)
        twice_sum_x = np.add.reduceat((left + right - 1) * lengths, starts)
        anchor = np.stack((twice_sum_x // (2 * pixels), sum_y // pixels), axis=1)
        return cls(runs, starts, anchor.astype(np.int32))

    def in_box(self, box: Box) -> npt.NDArray[np.bool_]:
        """Tell of each object whether its anchor lies in a box."""
        x, y = self.anchor.T
        inside: npt.NDArray[np.bool_] = (x >= box.x) & (x < box.right) & (y >= box.y) & (y < box.bottom)
        return inside

    def cut_by(self, window: Box, frame: Box) -> npt.NDArray[np.bool_]:
        """Tell of each object whether it touches the window's edge where the frame goes on beyond."""
        y, left, right = self.runs[:, 1:].T
        touches = (
            ((y == window.y) & (window.y > frame.y))
            | ((y == window.bottom - 1) & (window.bottom < frame.bottom))
            | ((left == window.x) & (window.x > frame.x))
            | ((right == window.right) & (window.right < frame.right))
        )
        cut = np.zeros(len(self), bool)
        cut[self.runs[touches, 0]] = True
        return cut

    def ordered(self, chosen: npt.NDArray[np.bool_]) -> Objects:
        """Give the chosen objects by anchor and then by first pixel, both row by row: no window changes that."""
        indices = np.flatnonzero(chosen)
        _, first_y, first_x, _ = self.runs[self.starts[indices]].T
        x, y = self.anchor[indices].T
        order = indices[np.lexsort((first_x, first_y, x, y))]
        return Objects.of_runs(take_runs(self.runs, len(self), order), len(order))


def find_objects(labels: Labels, window: Box) -> Objects:
    """Find the objects that labels are, where these cover `window` of the frame."""
    if labels.shape != window.shape:
        raise ValueError(f"labels of {labels.shape} do not cover {window}")
    runs = labels.runs[np.argsort(labels.runs[:, 0], kind="stable")]
    begins = np.diff(runs[:, 0], prepend=0) > 0
    runs[:, 0] = np.cumsum(begins) - 1
    runs[:, 1:] += np.array((window.y, window.x, window.x), np.int32)
    return Objects.of_runs(runs, int(np.count_nonzero(begins)))
