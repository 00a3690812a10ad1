"""Tissue from a low level: what differs in colour from the slide's own glass. Knows no tiles.

Everything leans towards keeping: a blank tile that is inferred costs milliseconds, a nucleus on a tile that is not
costs the result. Glass is recognised by its colour and not by a fixed threshold, so faint stains and tinted white
balances work; and by its missing colour rather than its brightness, because dust, coverslip edges and uneven light
are grey, while haematoxylin, eosin and DAB are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.errors import SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides import read_box

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy.typing as npt

    from wsiseg.slides import Slide

    _Mask: TypeAlias = npt.NDArray[np.bool_]
    _Floats: TypeAlias = npt.NDArray[np.float32]

TISSUE_MPP = 8.0
"""um/px at which tissue is sought: a lone nucleus still darkens one or two pixels, a slide has a few million."""
GLASS_FLAT = 10
"""Grey levels between the brightest and darkest of 5 x 5 smoothed pixels; tissue, even pale, varies more."""
GLASS_BRIGHT = 180
"""Glass is lit directly: whatever its tint, its brightest channel lies above this."""
GLASS_TINT = 60
"""Grey levels between the channels of the most tinted glass that still counts as glass."""
GLASS_GREEN = 3
"""Grey levels of green around the glass colour in which its noise is measured: faint tissue lies below."""
UNSCANNED = 252
"""Scanners fill what they did not scan with pure white, next to glass that is greyer: both are blank."""
GLASS_SHARE = 0.002
"""The glass is the brightest colour that covers at least this share of the slide: pale tissue can cover more."""
WEAK_COLOUR = (0.012, 0.03)
"""Limits of the optical density between channels, over 3 x 3 pixels, that is no longer the glass's own noise."""
NOISE_FACTOR = 2.0
"""That density is this many times what 95 % of the glass stays below; on scanned JPEG glass that is 0.012."""
STRONG_FACTOR = 2.4
"""A single pixel counts at this multiple: 0.06 on scanned glass, where a lone nucleus has 0.08 and more."""
STRONG_DENSITY = 0.2
"""Mean optical density of what is tissue whatever its colour: pigment, folds, overstained slides, and pen."""
SMALLEST_PX = 3
"""Weak pixels count in groups of this size, 200 um2: JPEG noise comes in ones and twos."""
DARK_BACKGROUND = 64
"""Median of the brightest channel below which a slide is no bright-field scan; dense H&E has 140 and more."""

GLIMPSES, GLIMPSE_PX = 12, 16
"""The brightness of a slide is judged from 12 x 12 patches of 16 px, spread evenly over its coarsest level."""
SMALL_LEVEL_PX = 2**22
"""A coarsest level up to this size is read whole instead, in less than a second."""


def find_tissue(slide: Slide) -> tuple[_Mask, Frame]:
    """Find tissue on the slide's area at about 8 um/px.

    Returns
    -------
    A (height, width) mask, True on tissue, and its frame.

    Raises
    ------
    SlideError
        The slide states no pixel size, or cannot be read.
    """
    frame = slide.info.frame_at(TISSUE_MPP)
    return tissue_in(read_box(slide, frame, frame.box)), frame


def tissue_in(rgb: npt.NDArray[np.uint8]) -> _Mask:
    """Find tissue in (height, width, 3) pixels of about 8 um."""
    smooth = cv2.blur(rgb, (3, 3))
    glass, threshold = _glass(smooth)
    density = _density(rgb, glass)
    weak = _colour(_density(smooth, glass)) > threshold
    strong = (_colour(density) > STRONG_FACTOR * threshold) | (density.mean(2) > STRONG_DENSITY)
    strong &= ~_unscanned(rgb)
    weak &= ~_unscanned(smooth)
    tissue: _Mask = strong | _without_specks(weak)
    return tissue


def check_brightfield(slide: Slide) -> None:
    """Refuse a slide whose background is dark: a fluorescence scan, in which nuclei are bright.

    Raises
    ------
    SlideError
        E-SLIDE-DARK.
    """
    brightest = float(np.median(_glimpse(slide).max(-1)))
    if brightest < DARK_BACKGROUND:
        what = f"the slide is not bright-field: its median brightness is {brightest:.0f} of 255"
        fix = "fluorescence slides need another model"
        raise SlideError("E-SLIDE-DARK", what, where=slide.info.path, fix=fix)


def _glimpse(slide: Slide) -> npt.NDArray[np.uint8]:
    """Read a small level whole, of a large one a little from everywhere: decoding it all can take minutes."""
    frame = Frame.over(slide.info.area, max(level.downsample for level in slide.info.levels))
    if frame.width * frame.height <= SMALL_LEVEL_PX:
        return read_box(slide, frame, frame.box)
    corners = [
        (frame.width * (2 * column + 1) // (2 * GLIMPSES), frame.height * (2 * row + 1) // (2 * GLIMPSES))
        for row in range(GLIMPSES)
        for column in range(GLIMPSES)
    ]
    return np.stack([read_box(slide, frame, Box(x, y, GLIMPSE_PX, GLIMPSE_PX)) for x, y in corners])


def _glass(smooth: npt.NDArray[np.uint8]) -> tuple[_Floats, float]:
    """Find the colour of the scanned glass, and the density between channels from which on a pixel is no glass.

    A slide that shows no glass gets white, so that all of it is tissue.
    """
    window = np.ones((5, 5), np.uint8)
    varied = (cv2.dilate(smooth, window) - cv2.erode(smooth, window)).max(2)
    highest, lowest = smooth.max(2), smooth.min(2)
    blank = (varied <= GLASS_FLAT) & (highest >= GLASS_BRIGHT) & (highest - lowest <= GLASS_TINT)
    found = smooth[blank & ~_unscanned(smooth)]
    enough = max(int(smooth.shape[0] * smooth.shape[1] * GLASS_SHARE), 16)
    if len(found) < enough:
        return np.full(3, 255, np.float32), WEAK_COLOUR[1]
    # Every stain absorbs green, so the brightest green is glass.
    brightest = np.partition(found[:, 1], len(found) - enough)[len(found) - enough]
    glass: _Floats = np.median(found[found[:, 1] >= brightest], axis=0).astype(np.float32)
    like_glass = found[np.abs(found[:, 1] - glass[1]) <= GLASS_GREEN]
    noise = float(np.quantile(_colour(_density(like_glass[None], glass)), 0.95))
    return glass, min(max(NOISE_FACTOR * noise, WEAK_COLOUR[0]), WEAK_COLOUR[1])


def _unscanned(rgb: npt.NDArray[np.uint8]) -> _Mask:
    mask: _Mask = rgb.min(2) >= UNSCANNED
    return mask


def _density(rgb: npt.NDArray[np.uint8], glass: _Floats) -> _Floats:
    """Give the optical density of each channel over the glass, natural logarithm."""
    # One table a channel: 256 logarithms instead of millions.
    table = np.log((glass[None, :] + 1) / (np.arange(256, dtype=np.float32)[:, None] + 1))
    return np.stack([table[:, channel][rgb[..., channel]] for channel in range(3)], axis=2)


def _colour(density: _Floats) -> _Floats:
    """Give the spread between the channels: none for grey, whatever its darkness."""
    spread: _Floats = density.max(2) - density.min(2)
    return spread


def _without_specks(mask: _Mask) -> _Mask:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] >= SMALLEST_PX
    large[0] = False
    kept: _Mask = large[labels]
    return kept
