"""`overview.png`: the slide, small, with its nuclei and the outline of its tissue.

Nuclei of one class are shown as their density, those of several as dots in their colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.export.dots import with_dots
from wsiseg.export.ground import INK, SMALLEST_PX, draw_marks
from wsiseg.export.heat import density_of, with_heat
from wsiseg.export.legend import HEIGHT, Legend, round_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from wsiseg.export.dots import Placed
    from wsiseg.export.ground import Ground, Points
    from wsiseg.models.bundle import ClassSpec

    Picture = npt.NDArray[np.uint8]

EDGE = (190, 40, 20)
"""Of the tissue, in a map of the density; dark among classes, of which one may be red."""


def draw_density(ground: Ground, centroids: Iterable[Points]) -> Picture:
    """Draw the slide with the density of its nuclei: (height, width, 3) RGB.

    Parameters
    ----------
    centroids
        (n, 2) arrays of level-0 (x, y), in any number of batches.
    """
    ground = ground.enlarged()
    density = density_of(ground, centroids)
    top = _top_of_scale(density)
    picture = with_heat(ground.image, density / top)
    draw_marks(picture, ground, EDGE)
    legend = Legend(picture)
    legend.density(top)
    return _finished(legend, ground, EDGE)


def draw_classes(ground: Ground, nuclei: Iterable[Placed], classes: Sequence[ClassSpec]) -> Picture:
    """Draw the slide with its nuclei in the colours of their classes: (height, width, 3) RGB."""
    ground = ground.enlarged()
    picture, counts = with_dots(ground, nuclei, classes)
    draw_marks(picture, ground, INK)
    legend = Legend(picture)
    legend.classes(classes, counts)
    return _finished(legend, ground, INK)


def encode_overview(picture: Picture) -> bytes:
    """Give an overview as PNG."""
    # Only repeated pixels are looked for: a quarter of the time of a usual PNG, for 1.5 % more bytes.
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    _, png = cv2.imencode(".png", picture[..., ::-1], settings)
    return png.tobytes()


def shrink_overview(overview: bytes, side_px: int, most_bytes: int) -> bytes:
    """Give an overview as a small JPEG, without its legend.

    Parameters
    ----------
    overview
        What `encode_overview` gave.
    side_px
        Long side of the small picture.
    most_bytes
        Quality is lowered until the JPEG is no larger, or no quality is left.

    Raises
    ------
    ValueError
        The overview is not a PNG.
    """
    pixels = cv2.imdecode(np.frombuffer(overview, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("the overview is not a PNG")
    height, width = pixels.shape[0] - round(HEIGHT * pixels.shape[1] / SMALLEST_PX), pixels.shape[1]
    shrink = side_px / max(height, width)
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    small = cv2.resize(pixels[:height], size, interpolation=cv2.INTER_AREA)
    for quality in (80, 60, 40, 20, 1):
        jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(jpeg) <= most_bytes:
            break
    return jpeg


def _top_of_scale(density: npt.NDArray[np.float32]) -> float:
    """Give the round number at which the colours end: few pixels lie above it."""
    filled = density[density > 1]
    value = float(np.percentile(filled, 99)) if len(filled) else 1000.0
    return round_number(value, (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10))


def _finished(legend: Legend, ground: Ground, edge: tuple[int, int, int]) -> Picture:
    """Add what every legend has."""
    legend.scale_bar(ground.pixel_um)
    if len(ground.outlines):
        legend.outline(edge)
    if len(ground.gaps):
        legend.gap()
    return np.asarray(legend.canvas)
