"""The slide, small: what pictures of a run are drawn on, and the lines around tissue and gaps.

Knows no slide file and no run: it is given pixels, their plane, and places in level-0 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from wsiseg.geometry import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Points = npt.NDArray[np.floating[Any]]
    """(n, 2): level-0 (x, y)."""

SMALLEST_PX = 1000
"""Width of a picture at least, so that its legend fits; a smaller slide is enlarged towards it."""
INK = (38, 38, 44)
GAP = (255, 140, 0)
"""Orange: of no stain, and not of a scale."""
SUBPIXEL_BITS = 4
"""Of the coordinates that `rings_on` gives."""


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A small picture of a slide, and what is known of its places."""

    image: npt.NDArray[np.uint8]
    """(height, width, 3)."""
    frame: Frame
    """The plane of `image`."""
    mpp: float
    """um per pixel of level 0."""
    outlines: Sequence[Points] = ()
    """Rings around the tissue; empty where no tissue was looked for."""
    gaps: Sequence[Points] = ()
    """Rings around what could not be read."""

    @property
    def pixel_um(self) -> float:
        """Side of a pixel of the picture."""
        return self.mpp * self.frame.downsample

    def enlarged(self) -> Ground:
        """Enlarge a small picture until a side has `SMALLEST_PX`; a strip stays narrow, not endlessly long."""
        frame = self.frame
        factor = SMALLEST_PX / max(frame.shape)
        if factor <= 1:
            return self
        size = max(round(frame.width * factor), 1), max(round(frame.height * factor), 1)
        larger = cv2.resize(self.image, size, interpolation=cv2.INTER_CUBIC)
        return replace(
            self, image=larger.astype(np.uint8), frame=Frame(*size, frame.downsample / factor, frame.origin)
        )


def faded(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
    """Give the slide paler and greyer, so that what is drawn on it stands out."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    pale: npt.NDArray[np.floating[Any]] = 0.15 * 255 + 0.85 * (0.4 * image + 0.6 * grey)
    return pale


def rings_on(frame: Frame, rings: Sequence[Points]) -> list[npt.NDArray[np.int32]]:
    """Turn level-0 rings into what cv2 draws; it has (0, 0) at the centre of the first pixel, not its corner."""
    return [np.rint((frame.from_level0(ring) - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32) for ring in rings]


def draw_marks(picture: npt.NDArray[np.uint8], ground: Ground, edge: tuple[int, int, int]) -> None:
    """Draw the edge of the tissue and fill what could not be read, with a border: a tile may be under a pixel."""
    frame = ground.frame
    style = {"thickness": max(round(frame.width / 900), 1), "lineType": cv2.LINE_AA, "shift": SUBPIXEL_BITS}
    cv2.polylines(picture, rings_on(frame, ground.outlines), isClosed=True, color=edge, **style)
    rings = rings_on(frame, ground.gaps)
    for ring in rings:  # one by one: where two overlap, filling them together would leave a hole
        cv2.fillPoly(picture, [ring], GAP, shift=SUBPIXEL_BITS)
    thickness = max(round(frame.width / 400), 2)
    cv2.polylines(picture, rings, isClosed=True, color=GAP, thickness=thickness, shift=SUBPIXEL_BITS)
