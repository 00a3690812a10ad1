"""Each nucleus as a dot in the colour of its class, over a small picture of the slide."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.export.ground import faded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from wsiseg.export.ground import Ground, Points
    from wsiseg.models.bundle import ClassSpec

    Placed = tuple[Points, npt.NDArray[np.uint8]]
    """Centroids and class values of some nuclei."""

SPREAD_UM, SPREAD_PX = 2.5, 0.6
"""Standard deviation of a dot: it is about as large as a small nucleus, or larger where nobody would see that."""
OPACITY = 0.9
_BAND_ROWS = 32


def with_dots(
    ground: Ground, nuclei: Iterable[Placed], classes: Sequence[ClassSpec]
) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Lay dots over a paler slide; where several meet, their colours mix.

    Returns
    -------
    (height, width, 3) pixels, and the number of nuclei of each class.
    """
    summed, counts = _summed(ground, nuclei, classes)
    sigma = max(SPREAD_UM / ground.pixel_um, SPREAD_PX)
    for plane in summed:
        cv2.GaussianBlur(plane, (0, 0), sigma, dst=plane, borderType=cv2.BORDER_CONSTANT)
    peak = 1 / (2 * pi * sigma**2)
    # In bands, which stay in the cache.
    bands = (slice(top, top + _BAND_ROWS) for top in range(0, len(ground.image), _BAND_ROWS))
    picture = np.concatenate([_blended(ground.image[band], summed[:, band], peak) for band in bands])
    return picture, counts


def _summed(
    ground: Ground, nuclei: Iterable[Placed], classes: Sequence[ClassSpec]
) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Add up, at each pixel, its nuclei and the red, green and blue of their classes: (4, height, width)."""
    frame = ground.frame
    colours = np.zeros((256, 4), np.float32)
    for one in classes:
        colours[one.value] = (1, *one.color)
    summed = np.zeros((4, frame.height * frame.width), np.float32)
    counts = np.zeros(256, np.int64)
    for centroids, values in nuclei:
        counts += np.bincount(values, minlength=256)
        x, y = np.floor(frame.from_level0(centroids)).astype(np.int64).T
        inside = (x >= 0) & (x < frame.width) & (y >= 0) & (y < frame.height)
        places = y[inside] * frame.width + x[inside]
        for plane, amount in zip(summed, colours[values[inside]].T, strict=True):
            np.add.at(plane, places, amount)
    return summed.reshape(4, *frame.shape), [int(counts[one.value]) for one in classes]


def _blended(image: npt.NDArray[np.uint8], summed: npt.NDArray[np.float32], peak: float) -> npt.NDArray[np.uint8]:
    """Mix pixels with the mean colour of the dots on them; `peak` is the middle of a single dot."""
    weight = summed[0]
    colour = np.moveaxis(summed[1:] / np.maximum(weight, 1e-6), 0, 2)
    opacity = (OPACITY * np.minimum(1.5 * weight / peak, 1))[..., None]
    blended = np.rint(faded(image) * (1 - opacity) + colour * opacity)
    mixed: npt.NDArray[np.uint8] = blended.clip(0, 255).astype(np.uint8)
    return mixed
