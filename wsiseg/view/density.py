"""Nuclei too small to see, as densities: a small picture a class. Knows no table and no slide."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from wsiseg.geometry import Frame
from wsiseg.view.pictures import as_png

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

CELL_UM = 20.0
"""Side of the cells in which nuclei are counted, about two nuclei."""
BLUR_CELLS = 1.5
"""Standard deviation of the blur: a neighbourhood, not single nuclei."""
LARGEST_PX = 2048
"""Side of the picture at most; on a larger slide the cells grow."""
STOPS = (
    (255, 255, 204),
    (199, 233, 180),
    (127, 205, 187),
    (65, 182, 196),
    (29, 145, 192),
    (34, 94, 168),
    (12, 44, 132),
)
"""Of one class, colours from few nuclei to many (ColorBrewer's YlGnBu): no hue of H&E, readable without colour
vision. Of several, each fades from nothing into its own colour."""


class Density:
    """Counts nuclei of each class in cells over an area.

    Parameters
    ----------
    area
        The plane of level 0 that is covered.
    mpp
        um per pixel of level 0.
    values
        Of the classes.
    """

    def __init__(self, area: Frame, mpp: float, values: Sequence[int]) -> None:
        cell = max(CELL_UM / mpp, max(area.shape) / LARGEST_PX, 1.0)
        self.frame = Frame(ceil(area.width / cell), ceil(area.height / cell), cell, area.origin)
        self.counts = {value: np.zeros(self.frame.shape, np.uint32) for value in values}
        self._cell_mm2 = (cell * mpp / 1000) ** 2

    def add(self, centroids: npt.NDArray[np.float64], values: npt.NDArray[np.uint8]) -> None:
        """Count nuclei by their centroids, (n, 2) level-0 (x, y), and classes; one outside counts at the edge."""
        x, y = np.floor(self.frame.from_level0(centroids)).astype(np.int64).T
        x, y = np.clip(x, 0, self.frame.width - 1), np.clip(y, 0, self.frame.height - 1)
        for value, counts in self.counts.items():
            flat = np.bincount((y * self.frame.width + x)[values == value], minlength=counts.size)
            counts += flat.reshape(counts.shape).astype(np.uint32)

    def pictures(self, colours: Sequence[tuple[int, int, int]]) -> tuple[dict[int, bytes], float]:
        """Give each class' density as PNG, transparent where there is none.

        Parameters
        ----------
        colours
            Of the classes; not used for a single one.

        Returns
        -------
        The pictures by class value, and the nuclei per mm2 from which on a colour is that of the scale's end.
        """
        total = sum(self.counts.values(), np.zeros(self.frame.shape, np.uint32))
        found = self._blurred(total)[total > 0]
        top = float(np.percentile(found, 99)) if len(found) else 1.0
        scales = [_scale(STOPS, fade=0.5)]
        if len(colours) > 1:  # one colour says all by how full it is; half of the nuclei are enough for that
            scales, top = [_scale((colour, colour), fade=1.0) for colour in colours], top / 2
        pictures = {}
        for (value, counts), scale in zip(self.counts.items(), scales, strict=True):
            indices = np.clip(np.rint(self._blurred(counts) / top * 255), 0, 255).astype(np.uint8)
            pictures[value] = as_png(indices, scale)
        return pictures, top

    def _blurred(self, counts: npt.NDArray[np.uint32]) -> npt.NDArray[np.floating[Any]]:
        """Give nuclei per mm2 around each cell."""
        blurred: npt.NDArray[np.floating[Any]] = cv2.GaussianBlur(counts.astype(np.float32), (0, 0), BLUR_CELLS)
        return blurred / self._cell_mm2


def _scale(stops: Sequence[tuple[int, int, int]], fade: float) -> list[tuple[int, int, int, int]]:
    """Give 256 colours, from nothing over the first stop to the last; the lower part, a share `fade`, fades in."""
    places, marks = np.linspace(0, 1, 256), np.linspace(0, 1, len(stops))
    channels = [np.rint(np.interp(places, marks, channel)).astype(int) for channel in np.transpose(stops)]
    alpha = np.rint(np.clip(places / fade, 0, 1) * 255).astype(int)
    return [tuple(row) for row in np.stack([*channels, alpha], 1).tolist()]
