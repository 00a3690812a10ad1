"""Connected components that are known to be whole: the building block of a local decoding.

A component can be as long as the slide, so a rule that depends on whole components is not local. A rule that
depends only on components *within a stated extent* is: whoever sees `extent_px` pixels around a pixel sees either
the pixel's whole component, or enough of it to know that it is too large. Every user therefore asks `Sizes.within`
before it trusts a component.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Pixels:
    """The set pixels of a mask as a list, row by row: work per foreground pixel, none on empty glass."""

    flat: npt.NDArray[np.intp]
    """Flat index of each pixel in the image."""
    row: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]

    @classmethod
    def of(cls, mask: npt.NDArray[np.bool_]) -> Pixels:
        """List the set pixels of an (h, w) mask."""
        flat = np.flatnonzero(mask)
        row, column = np.divmod(flat, mask.shape[1])
        return cls(flat, row.astype(np.int32), column.astype(np.int32))

    def where(self, chosen: npt.NDArray[np.bool_]) -> Pixels:
        """Give the chosen ones of the list."""
        return Pixels(self.flat[chosen], self.row[chosen], self.column[chosen])


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of numbered sets of pixels; row 0, the background, means nothing."""

    area_px: npt.NDArray[np.intp]
    extent_px: npt.NDArray[np.int32]
    """The longer side of each bounding box."""

    @classmethod
    def of(cls, labels: npt.NDArray[np.int32], pixels: Pixels) -> Sizes:
        """Measure the labels of listed pixels."""
        area = np.bincount(labels, minlength=1)
        longest = np.zeros(len(area), np.int32)
        for along in (pixels.row, pixels.column):
            low = np.full(len(area), np.iinfo(np.int32).max, np.int32)
            high = np.full(len(area), -1, np.int32)
            np.minimum.at(low, labels, along)
            np.maximum.at(high, labels, along)
            np.maximum(longest, high - low + 1, out=longest, where=high >= 0)
        return cls(area, longest)

    def within(self, min_area_px: float, max_extent_px: int) -> npt.NDArray[np.bool_]:
        """Tell for each label whether its size lies within the limits; never for the background."""
        fits = (self.area_px >= min_area_px) & (self.extent_px <= max_extent_px)
        fits[0] = False
        return fits


def components_at(mask: npt.NDArray[np.bool_], pixels: Pixels) -> npt.NDArray[np.int32]:
    """Give the number of the 4-connected component at each listed pixel; 0 where the mask is not set.

    The numbers come in no particular order. Sizes are measured on the listed pixels, not by OpenCV, whose
    statistics cost more than the components where most of an image is glass.
    """
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return np.asarray(labels.ravel()[pixels.flat], np.int32)


def numbered(kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Give the kept rows the numbers 1..n, in their order, and the others 0."""
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)
