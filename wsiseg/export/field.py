"""Example fields of a report: a piece of the slide at full zoom, with its nuclei and a scale bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from shapely import Polygon

    Outlined = tuple[Iterable[Polygon], tuple[int, int, int]]
    """Polygons, and the colour of their outlines."""

FIELD_OUTLINE = (0, 255, 140)
"""Of nuclei of one class. Green: the hue that H&E does not have."""
ZOOM = 2
"""Pixels of the picture per pixel of the slide piece, so that a line is thinner than what it surrounds."""
_SUBPIXEL_BITS = 4
_BARS_UM = (200, 100, 50, 20, 10, 5)
_INK, _PAPER = (20, 20, 24), (255, 255, 255)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One example field."""

    kind: str
    """Why it was chosen; fields of one kind stand together."""
    caption: str
    picture: npt.NDArray[np.uint8]
    """(height, width, 3) RGB."""


def draw_field(rgb: npt.NDArray[np.uint8], nuclei: Iterable[Outlined], mpp: float) -> npt.NDArray[np.uint8]:
    """Draw outlines of nuclei and a scale bar on a piece of the slide, enlarged `ZOOM` times.

    Parameters
    ----------
    nuclei
        Polygons in pixels of `rgb`; holes are not drawn.
    mpp
        um per pixel of `rgb`.
    """
    height, width = rgb.shape[:2]
    canvas = cv2.resize(rgb, (ZOOM * width, ZOOM * height), interpolation=cv2.INTER_CUBIC)
    style = {"thickness": 2, "lineType": cv2.LINE_AA, "shift": _SUBPIXEL_BITS}
    for polygons, colour in nuclei:
        # Polygons have (0, 0) at the corner of the first pixel, cv2 at its centre.
        rings = [
            np.rint((np.asarray(polygon.exterior.coords)[:, :2] * ZOOM - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
            for polygon in polygons
        ]
        cv2.polylines(canvas, rings, isClosed=True, color=colour, **style)
    picture = Image.fromarray(canvas)
    _draw_scale_bar(picture, mpp / ZOOM)
    return np.asarray(picture)


def _draw_scale_bar(picture: Image.Image, pixel_um: float) -> None:
    """Draw a bar of a round length on paper of its own, bottom left; none where no bar has room."""
    um = next((um for um in _BARS_UM if um <= picture.width * pixel_um / 4), None)
    # Pillow's own font, so that the picture does not depend on the machine's; it has no Greek mu.
    size = 26
    if um is None or picture.height < 4 * size:
        return
    length, label, font = round(um / pixel_um), f"{um} um", ImageFont.load_default(size)
    draw = ImageDraw.Draw(picture)
    width = max(length, round(font.getlength(label))) + 28
    left, top = 12, picture.height - 66
    draw.rectangle((left, top, left + width - 1, top + 53), _PAPER)
    start = left + (width - length) // 2
    draw.rectangle((start, top + 40, start + length - 1, top + 45), _INK)
    draw.text((left + width / 2, top + 20), label, _INK, font, "mm")
