"""`overview.png`: the slide, small, with the density of its nuclei and the outline of its tissue.

Knows no slide file and no run: it is given pixels, their plane, and centroids in level-0 pixels.
"""

from __future__ import annotations

from io import BytesIO
from math import ceil, floor, log10
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsiseg.geometry import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    import numpy.typing as npt

SMALLEST_PX = 1000
"""Width of the overview at least, so that the legend fits; a smaller slide is enlarged towards it."""
BLUR_UM = 60.0
"""Standard deviation of the density's blur: a neighbourhood of a few cell widths, not single nuclei."""
HEAT = ((237, 248, 177), (127, 205, 187), (65, 182, 196), (34, 94, 168), (8, 29, 88))
"""Colours from few nuclei to many (ColorBrewer's YlGnBu): no hue of H&E, readable without colour vision."""
OPACITY = 0.75
"""Of the heat map where it is densest; it fades to nothing where there are no nuclei."""
OUTLINE = (190, 40, 20)
GAP = (255, 140, 0)
"""Orange: of no stain, and not of the scale."""
INK = (38, 38, 44)
LEGEND = 90
"""Height of the legend, in thousandths of the picture's width."""
_SUBPIXEL_BITS = 4
_BAND_ROWS = 32


def draw_overview(
    image: npt.NDArray[np.uint8],
    frame: Frame,
    mpp: float,
    centroids: Iterable[npt.NDArray[np.floating[Any]]],
    outlines: Sequence[npt.NDArray[np.floating[Any]]],
    gaps: Sequence[npt.NDArray[np.floating[Any]]] = (),
) -> bytes:
    """Draw the overview and give it as PNG.

    Parameters
    ----------
    image
        (height, width, 3): the slide, small.
    frame
        The plane of `image`.
    mpp
        um per pixel of level 0.
    centroids
        (n, 2) arrays of level-0 (x, y), in any number of batches.
    outlines
        (n, 2) rings of level-0 (x, y) around the tissue; empty where no tissue was looked for.
    gaps
        (n, 2) rings of level-0 (x, y) around what could not be read.
    """
    image, frame = _enlarged(image, frame)
    pixel_um = mpp * frame.downsample
    density = _density(frame, pixel_um, centroids, outlines)
    top = _top_of_scale(density)
    picture = _with_heat(image, density / top)
    _draw_outlines(picture, frame, outlines)
    _draw_gaps(picture, frame, gaps)
    return _with_legend(picture, pixel_um, top, outlined=len(outlines) > 0, gaps=len(gaps) > 0)


def shrink_overview(overview: bytes, side_px: int, most_bytes: int) -> bytes:
    """Give an overview as a small JPEG, without its legend.

    Parameters
    ----------
    overview
        What `draw_overview` gave.
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
    height, width = pixels.shape[0] - round(LEGEND * pixels.shape[1] / SMALLEST_PX), pixels.shape[1]
    shrink = side_px / max(height, width)
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    small = cv2.resize(pixels[:height], size, interpolation=cv2.INTER_AREA)
    for quality in (80, 60, 40, 20, 1):
        jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(jpeg) <= most_bytes:
            break
    return jpeg


def _enlarged(image: npt.NDArray[np.uint8], frame: Frame) -> tuple[npt.NDArray[np.uint8], Frame]:
    """Enlarge a small picture until a side has `SMALLEST_PX`; a strip stays narrow rather than grow endlessly."""
    factor = SMALLEST_PX / max(frame.shape)
    if factor <= 1:
        return image, frame
    size = max(round(frame.width * factor), 1), max(round(frame.height * factor), 1)
    larger = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return larger.astype(np.uint8), Frame(*size, frame.downsample / factor, frame.origin)


def _density(
    frame: Frame,
    pixel_um: float,
    centroids: Iterable[npt.NDArray[np.floating[Any]]],
    outlines: Sequence[npt.NDArray[np.floating[Any]]],
) -> npt.NDArray[np.float32]:
    """Give nuclei per mm2 of tissue at each pixel of the frame, 0 outside the tissue."""
    # Counted in cells of a quarter of the blur: finer ones cost seconds and look the same.
    cell_px = max(BLUR_UM / pixel_um / 4, 1.0)
    cells = Frame(
        ceil(frame.width / cell_px), ceil(frame.height / cell_px), frame.downsample * cell_px, frame.origin
    )
    counts = _counts(cells, centroids)
    covered = ((_inside(cells, outlines) > 0) | (counts > 0)).astype(np.float32)
    sigma = max(BLUR_UM / pixel_um / cell_px, 1.5)
    near_nuclei, near_tissue = (
        cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for plane in (counts, covered)
    )
    # Divided by the tissue near each point, a density does not fall off towards the edge of the tissue.
    density = near_nuclei / np.maximum(near_tissue, 0.05) * np.float32(1e6 / (pixel_um * cell_px) ** 2)
    return _enlarged_to(frame, density * covered, cell_px)


def _counts(cells: Frame, centroids: Iterable[npt.NDArray[np.floating[Any]]]) -> npt.NDArray[np.float32]:
    counts = np.zeros(cells.width * cells.height, np.float32)
    for batch in centroids:
        x, y = np.floor(cells.from_level0(batch)).astype(np.int64).T
        inside = (x >= 0) & (x < cells.width) & (y >= 0) & (y < cells.height)
        counts += np.bincount(y[inside] * cells.width + x[inside], minlength=counts.size)
    return counts.reshape(cells.shape)


def _inside(cells: Frame, outlines: Sequence[npt.NDArray[np.floating[Any]]]) -> npt.NDArray[np.uint8]:
    """Fill the outlines; everything counts as tissue where there are none."""
    filled = np.full(cells.shape, 1 if len(outlines) == 0 else 0, np.uint8)
    cv2.fillPoly(filled, _rings(cells, outlines), 1, shift=_SUBPIXEL_BITS)
    return filled


def _enlarged_to(frame: Frame, cells: npt.NDArray[np.float32], cell_px: float) -> npt.NDArray[np.float32]:
    shift = 0.5 / cell_px - 0.5
    shrink = np.array([[1 / cell_px, 0, shift], [0, 1 / cell_px, shift]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (frame.width, frame.height)
    larger = cv2.warpAffine(cells, shrink, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(larger, np.float32)


def _top_of_scale(density: npt.NDArray[np.float32]) -> float:
    """Give the round number at which the colours end: few pixels lie above it."""
    filled = density[density > 1]
    value = float(np.percentile(filled, 99)) if len(filled) else 1000.0
    return _round_number(value, (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10))


def _round_number(value: float, steps: tuple[float, ...]) -> float:
    """Give the nearest of some steps times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return min((step * power for step in steps), key=lambda number: abs(number - value))


def _with_heat(image: npt.NDArray[np.uint8], share: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
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
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    pale = 0.15 * 255 + 0.85 * (0.4 * image + 0.6 * grey)
    level = np.clip(share, 0, 1)
    opacity = (OPACITY * np.minimum(4 * level, 1))[..., None]
    blended: npt.NDArray[np.float32] = pale * (1 - opacity) + heat[(level * 255).astype(np.uint8)] * opacity
    return np.rint(blended).astype(np.uint8)


def _rings(frame: Frame, outlines: Sequence[npt.NDArray[np.floating[Any]]]) -> list[npt.NDArray[np.int32]]:
    """Turn level-0 rings into what cv2 draws; it has (0, 0) at the centre of the first pixel, not its corner."""
    return [np.rint((frame.from_level0(ring) - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for ring in outlines]


def _draw_outlines(
    picture: npt.NDArray[np.uint8], frame: Frame, outlines: Sequence[npt.NDArray[np.floating[Any]]]
) -> None:
    thickness = max(round(frame.width / 900), 1)
    style = {"thickness": thickness, "lineType": cv2.LINE_AA, "shift": _SUBPIXEL_BITS}
    cv2.polylines(picture, _rings(frame, outlines), isClosed=True, color=OUTLINE, **style)


def _draw_gaps(
    picture: npt.NDArray[np.uint8], frame: Frame, gaps: Sequence[npt.NDArray[np.floating[Any]]]
) -> None:
    """Fill what could not be read, with a border of some width: a tile may be less than a pixel here."""
    rings = _rings(frame, gaps)
    thickness = max(round(frame.width / 400), 2)
    for ring in rings:  # one by one: where two overlap, filling them together would leave a hole
        cv2.fillPoly(picture, [ring], GAP, shift=_SUBPIXEL_BITS)
    cv2.polylines(picture, rings, isClosed=True, color=GAP, thickness=thickness, shift=_SUBPIXEL_BITS)


def _with_legend(
    picture: npt.NDArray[np.uint8], pixel_um: float, top: float, *, outlined: bool, gaps: bool
) -> bytes:
    """Put a legend below the picture: scale bar, colours of the density, tissue outline, gaps."""
    height, width = picture.shape[:2]
    full_width = max(width, SMALLEST_PX)
    unit = full_width / SMALLEST_PX
    canvas = Image.new("RGB", (full_width, height + round(LEGEND * unit)), "white")
    canvas.paste(Image.fromarray(picture), ((full_width - width) // 2, 0))
    legend = _Legend(ImageDraw.Draw(canvas), unit, height)
    legend.scale_bar(pixel_um, full_width)
    legend.colours(canvas, top)
    if outlined:
        legend.outline()
    if gaps:
        legend.gap()
    out = BytesIO()
    canvas.save(out, "PNG")
    return out.getvalue()


class _Legend:
    """Draws below the picture, in units of a thousandth of its width."""

    def __init__(self, draw: ImageDraw.ImageDraw, unit: float, top_px: int) -> None:
        self._draw = draw
        self._unit = unit
        self._top_px = top_px
        # Pillow's own font, so that the picture does not depend on the fonts of the machine.
        self._fonts = {
            small: ImageFont.load_default(round((13 if small else 20) * unit)) for small in (False, True)
        }

    def _at(self, x: float, y: float) -> tuple[int, int]:
        return round(x * self._unit), self._top_px + round(y * self._unit)

    def _text(self, x: float, y: float, text: str, anchor: str = "mm", *, small: bool = False) -> None:
        self._draw.text(self._at(x, y), text, INK, self._fonts[small], anchor)

    def _bar(self, x: float, y: float, right: float, bottom: float, fill: tuple[int, int, int]) -> None:
        self._draw.rectangle((*self._at(x, y), *self._at(right, bottom)), fill)

    def scale_bar(self, pixel_um: float, width_px: int) -> None:
        """Draw a bar of a round length, about a sixth of the picture."""
        length_mm = _round_number(pixel_um * width_px / 6000, (1, 2, 5, 10))
        length = length_mm * 1000 / pixel_um / self._unit
        self._bar(40, 30, 40 + length, 36, INK)
        self._text(40 + length / 2, 62, f"{length_mm:g} mm")

    def colours(self, canvas: Image.Image, top: float) -> None:
        """Draw the scale of the density."""
        (left, upper), (right, lower) = self._at(330, 24), self._at(670, 42)
        ramp = np.linspace(0, 1, right - left, dtype=np.float32)[None].repeat(lower - upper, 0)
        white = np.full((*ramp.shape, 3), 255, np.uint8)
        canvas.paste(Image.fromarray(_with_heat(white, ramp)), (left, upper))
        self._text(330, 62, "0")
        # The font has no superscript two (and no Greek mu: lengths are in mm).
        self._text(494, 62, "nuclei per mm")
        half_width = self._fonts[False].getlength("nuclei per mm") / 2 / self._unit
        self._text(494 + half_width + 1, 55, "2", "lm", small=True)
        self._text(670, 62, f"{top:,.0f} or more")

    def outline(self) -> None:
        """Explain the line around the tissue."""
        self._bar(760, 31, 800, 34, OUTLINE)
        self._text(812, 33, "edge of the tissue", "lm")

    def gap(self) -> None:
        """Explain the squares that could not be read."""
        self._bar(770, 54, 790, 74, GAP)
        self._text(812, 64, "could not be read", "lm")
