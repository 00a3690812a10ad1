"""Nuclei too small to see, as a density: one small picture for a whole slide. Knows no table and no slide."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.geometry import Frame
from wsiseg.view.pictures import as_png

if TYPE_CHECKING:
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
"""Colours from few nuclei to many (ColorBrewer's YlGnBu): no hue of H&E, readable without colour vision."""


class Density:
    """Counts nuclei in cells over an area.

    Parameters
    ----------
    area
        The plane of level 0 that is covered.
    mpp
        um per pixel of level 0.
    """

    def __init__(self, area: Frame, mpp: float) -> None:
        cell = max(CELL_UM / mpp, max(area.shape) / LARGEST_PX, 1.0)
        self.frame = Frame(ceil(area.width / cell), ceil(area.height / cell), cell, area.origin)
        self.counts = np.zeros(self.frame.shape, np.uint32)
        self._cell_mm2 = (cell * mpp / 1000) ** 2

    def add(self, centroids: npt.NDArray[np.float64]) -> None:
        """Count nuclei by their centroids, (n, 2) level-0 (x, y); one outside counts at the edge."""
        x, y = np.floor(self.frame.from_level0(centroids)).astype(np.int64).T
        x, y = np.clip(x, 0, self.frame.width - 1), np.clip(y, 0, self.frame.height - 1)
        flat = np.bincount(y * self.frame.width + x, minlength=self.counts.size)
        self.counts += flat.reshape(self.counts.shape).astype(np.uint32)

    def picture(self) -> tuple[bytes, float]:
        """Give the density as PNG, transparent where there is none, and the nuclei per mm2 at its darkest."""
        blurred = cv2.GaussianBlur(self.counts.astype(np.float32), (0, 0), BLUR_CELLS) / self._cell_mm2
        found = blurred[self.counts > 0]
        top = float(np.percentile(found, 99)) if len(found) else 1.0
        indices = np.clip(np.rint(blurred / top * 255), 0, 255).astype(np.uint8)
        return as_png(indices, _scale()), top


def _scale() -> list[tuple[int, int, int, int]]:
    """Give 256 colours, from nothing over the first stop to the last; the lower half fades in."""
    places, stops = np.linspace(0, 1, 256), np.linspace(0, 1, len(STOPS))
    channels = [np.rint(np.interp(places, stops, channel)).astype(int) for channel in np.transpose(STOPS)]
    alpha = np.rint(np.clip(places * 2, 0, 1) * 255).astype(int)
    return [tuple(row) for row in np.stack([*channels, alpha], 1).tolist()]
