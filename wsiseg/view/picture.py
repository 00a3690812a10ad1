"""The slide's own picture, in tiles of any resolution. Knows no run directory."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wsiseg.geometry import Box, Frame
from wsiseg.slides import read_box
from wsiseg.view.pyramid import Pyramid

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.slides import Slide


class SlidePicture:
    """Tiles of a slide; the coarse ones, and all where there is no slide, from the overview that a run keeps.

    Parameters
    ----------
    slide
        One that several threads may read; None if it is not at hand.
    overview, frame
        The slide, small, (height, width, 3), and its plane.
    """

    def __init__(self, slide: Slide | None, overview: npt.NDArray[np.uint8], frame: Frame) -> None:
        self._slide = slide
        self._overview = Image.fromarray(overview)
        self._frame = frame
        finest = frame if slide is None else Frame.over(slide.info.area, 1.0)
        self.pyramid = Pyramid.below(finest)

    def tile(self, level: int, column: int, row: int) -> npt.NDArray[np.uint8] | None:
        """Give a tile's (height, width, 3) pixels; None where there is no such tile.

        Raises
        ------
        SlideError
            E-SLIDE-READ.
        """
        found = self.pyramid.tile(level, column, row)
        if found is None:
            return None
        index, box = found
        frame = self.pyramid.frames[index]
        # A slide need not have coarse levels: reading all of it for one tile would take minutes.
        if self._slide is None or frame.downsample >= self._frame.downsample:
            return self._shrunk(frame, box)
        return read_box(self._slide, frame, box)

    def _shrunk(self, frame: Frame, box: Box) -> npt.NDArray[np.uint8]:
        corners = frame.to_level0(np.array([[box.x, box.y], [box.right, box.bottom]]))
        limits = (self._frame.width, self._frame.height)
        (left, top), (right, bottom) = np.clip(self._frame.from_level0(corners), 0, limits).tolist()
        # At least a pixel: a last column or row may lie a fraction beyond the overview.
        left, top = min(left, ceil(right) - 1), min(top, ceil(bottom) - 1)
        right, bottom = max(right, floor(left) + 1), max(bottom, floor(top) + 1)
        small = self._overview.resize(
            (box.width, box.height), Image.Resampling.HAMMING, box=(left, top, right, bottom)
        )
        return np.array(small)
