"""Haematoxylin and eosin of a pixel by colour deconvolution, in whole numbers: the same bytes on every machine.

Ruifrok & Johnston, "Quantification of histochemical staining by color deconvolution", Anal Quant Cytol Histol 23
(2001): optical densities of red, green and blue are sums of what each stain absorbs, so the inverse of the stains'
vectors gives the amounts. Vectors, white (255) and the third vector (at right angles to both) are those that
QuPath takes for a slide on which nothing was estimated (`StainVector`, `ColorDeconvolutionStains` in its source).
"""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

STAINS = ("haematoxylin", "eosin")
"""The planes, in order."""
_VECTORS = ((0.65, 0.70, 0.29), (0.2159, 0.8012, 0.5581))
"""Of the stains: optical density of red, green and blue."""

STEPS_PER_OD = 100
"""An optical density is stored as its hundredths, cut to 0..2.55; nuclei of H&E slides lie below 1.5."""
_FINE_BITS = 6
"""Binary digits behind a hundredth while channels are added: as many as int16 holds."""

LEAST_PROBABILITY = 12
"""Stains are told above it: no head's threshold is lower (0.05), so no nucleus has a pixel elsewhere."""


def _tables() -> tuple[npt.NDArray[np.int32], ...]:
    """Give for red, green and blue what each value adds to both stains, two int16 side by side in an int32."""
    unit = [np.array(vector) / np.linalg.norm(vector) for vector in _VECTORS]
    third = np.cross(*unit)
    inverse = np.linalg.inv(np.stack((*unit, third / np.linalg.norm(third))))[:, : len(STAINS)]
    density = np.array([-log10(max(value, 1) / 255) for value in range(256)])
    shares = np.rint(density[:, None, None] * inverse * (STEPS_PER_OD << _FINE_BITS)).astype(np.int16)
    shares[:, 0] += 1 << (_FINE_BITS - 1)  # half a step, once a pixel: the shift below then rounds
    return tuple(np.ascontiguousarray(shares[:, channel]).view(np.int32).ravel() for channel in range(3))


_TABLES = _tables()


def stains_of(rgb: npt.NDArray[np.uint8], probability: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give the stains of the pixels that may be of a nucleus.

    Parameters
    ----------
    rgb
        (h, w, 3).
    probability
        (h, w): the head's first map.

    Returns
    -------
    (n, 2): optical densities in steps of 1 / `STEPS_PER_OD`, as `STAINS`, of each pixel of more than
    `LEAST_PROBABILITY`, row by row.
    """
    pixels = rgb.reshape(-1, 3).take(np.flatnonzero(probability > LEAST_PROBABILITY), axis=0)
    # Indices are bytes and tables have 256 entries; both stains are looked up at once and added as int16.
    amounts = _TABLES[0].take(pixels[:, 0]).view(np.int16)
    for channel in (1, 2):
        amounts += _TABLES[channel].take(pixels[:, channel]).view(np.int16)
    amounts >>= _FINE_BITS
    return np.clip(amounts, 0, 255, out=amounts).astype(np.uint8).reshape(-1, len(STAINS))


def as_planes(stains: npt.NDArray[np.uint8], probability: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give what `stains_of` gave as (2, h, w) planes, 0 elsewhere."""
    planes = np.zeros((len(STAINS), probability.size), np.uint8)
    places = np.flatnonzero(probability > LEAST_PROBABILITY)
    for plane, values in zip(planes, stains.T, strict=True):
        plane[places] = values
    return planes.reshape(len(STAINS), *probability.shape)
