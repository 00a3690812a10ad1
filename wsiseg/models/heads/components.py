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
class Sizes:
    """Sizes of numbered sets of pixels; row 0, the background, means nothing."""

    area_px: npt.NDArray[np.intp]
    extent_px: npt.NDArray[np.intp]
    """The longer side of each bounding box."""

    @classmethod
    def of(cls, labels: npt.NDArray[np.int32], flat: npt.NDArray[np.intp], width: int) -> Sizes:
        """Measure labels of listed pixels.

        Parameters
        ----------
        flat
            Flat index of each pixel in an image that is `width` pixels wide.
        """
        count = int(labels.max(initial=0)) + 1
        longest = np.zeros(count, np.intp)
        for along in np.divmod(flat, width):
            low = np.full(count, np.iinfo(np.intp).max)
            high = np.full(count, -1)
            np.minimum.at(low, labels, along)
            np.maximum.at(high, labels, along)
            np.maximum(longest, high - low + 1, out=longest, where=high >= 0)
        return cls(np.bincount(labels, minlength=count), longest)

    def within(self, min_area_px: float, max_extent_px: int) -> npt.NDArray[np.bool_]:
        """Tell for each label whether its size lies within the limits; never for the background."""
        fits = (self.area_px >= min_area_px) & (self.extent_px <= max_extent_px)
        fits[0] = False
        return fits


def components_at(mask: npt.NDArray[np.bool_], flat: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """Give the number of the 4-connected component at each listed pixel; 0 where the mask is not set.

    The numbers come in no particular order. Sizes are measured on the listed pixels, not by OpenCV, whose
    statistics cost more than the components where most of an image is glass.
    """
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return np.asarray(labels.ravel()[flat], np.int32)


def numbered(kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Give the kept rows the numbers 1..n, in their order, and the others 0."""
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)
