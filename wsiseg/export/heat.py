"""The density of nuclei as a heat map over a small picture of the slide."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.export.ground import SUBPIXEL_BITS, faded, rings_on
from wsiseg.geometry import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from wsiseg.export.ground import Ground, Points

BLUR_UM = 60.0
"""Standard deviation of the density's blur: a neighbourhood of a few cell widths, not single nuclei."""
HEAT = ((237, 248, 177), (127, 205, 187), (65, 182, 196), (34, 94, 168), (8, 29, 88))
"""Colours from few nuclei to many (ColorBrewer's YlGnBu): no hue of H&E, readable without colour vision."""
OPACITY = 0.75
"""Of the heat map where it is densest; it fades to nothing where there are no nuclei."""
_BAND_ROWS = 32


def density_of(ground: Ground, centroids: Iterable[Points]) -> npt.NDArray[np.float32]:
    """Give nuclei per mm2 of tissue at each pixel of the picture, 0 outside the tissue."""
    frame, pixel_um = ground.frame, ground.pixel_um
    # Counted in cells of a quarter of the blur: finer ones cost seconds and look the same.
    cell_px = max(BLUR_UM / pixel_um / 4, 1.0)
    cells = Frame(
        ceil(frame.width / cell_px), ceil(frame.height / cell_px), frame.downsample * cell_px, frame.origin
    )
    counts = _counts(cells, centroids)
    covered = ((_inside(cells, ground.outlines) > 0) | (counts > 0)).astype(np.float32)
    sigma = max(BLUR_UM / pixel_um / cell_px, 1.5)
    near_nuclei, near_tissue = (
        cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for plane in (counts, covered)
    )
    # Divided by the tissue near each point, a density does not fall off towards the edge of the tissue.
    density = near_nuclei / np.maximum(near_tissue, 0.05) * np.float32(1e6 / (pixel_um * cell_px) ** 2)
    return _enlarged_to(frame, density * covered, cell_px)


def _counts(cells: Frame, centroids: Iterable[Points]) -> npt.NDArray[np.float32]:
    counts = np.zeros(cells.width * cells.height, np.float32)
    for batch in centroids:
        x, y = np.floor(cells.from_level0(batch)).astype(np.int64).T
        inside = (x >= 0) & (x < cells.width) & (y >= 0) & (y < cells.height)
        counts += np.bincount(y[inside] * cells.width + x[inside], minlength=counts.size)
    return counts.reshape(cells.shape)


def _inside(cells: Frame, outlines: Sequence[Points]) -> npt.NDArray[np.uint8]:
    """Fill the outlines; everything counts as tissue where there are none."""
    filled = np.full(cells.shape, 1 if len(outlines) == 0 else 0, np.uint8)
    cv2.fillPoly(filled, rings_on(cells, outlines), 1, shift=SUBPIXEL_BITS)
    return filled


def _enlarged_to(frame: Frame, cells: npt.NDArray[np.float32], cell_px: float) -> npt.NDArray[np.float32]:
    shift = 0.5 / cell_px - 0.5
    shrink = np.array([[1 / cell_px, 0, shift], [0, 1 / cell_px, shift]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (frame.width, frame.height)
    larger = cv2.warpAffine(cells, shrink, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(larger, np.float32)


def with_heat(image: npt.NDArray[np.uint8], share: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Lay the heat map over a paler slide; `share` is the density as a part of the scale's top."""
    stops = np.linspace(0, 1, len(HEAT))
    table = np.stack([np.interp(np.linspace(0, 1, 256), stops, channel) for channel in np.transpose(HEAT)], 1)
    heat = table.astype(np.float32)
    # In bands, which stay in the cache: for a whole picture it takes five times as long, and 300 MB.
    bands = (slice(top, top + _BAND_ROWS) for top in range(0, len(image), _BAND_ROWS))
    return np.concatenate([_blended(image[band], share[band], heat) for band in bands])


def _blended(
    image: npt.NDArray[np.uint8], share: npt.NDArray[np.float32], heat: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Mix pixels with their colours of the (256, 3) scale."""
    level = np.clip(share, 0, 1)
    opacity = (OPACITY * np.minimum(4 * level, 1))[..., None]
    blended = faded(image) * (1 - opacity) + heat[(level * 255).astype(np.uint8)] * opacity
    return np.rint(blended).astype(np.uint8)
