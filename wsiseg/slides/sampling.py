"""Pixels of any box in any frame: the one place where slides are resampled. Knows no file format.

Which pixels a box gets does not depend on how a larger box was cut: the source region is read with the context
that the filter needs, and the filter is placed at its exact sub-pixel position.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image

from wsiseg.geometry import Box, Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy.typing as npt

    from wsiseg.slides.base import Slide

    _Pixels: TypeAlias = npt.NDArray[np.uint8]
    """(height, width, 3) RGB."""

LEVEL_SLACK = 1.01
"""A level up to 1 % coarser than the frame still serves it: 4.00009 serves a frame of 4."""
COPY_DRIFT_PX = 0.05
"""Grids that stay this close over the whole frame are the same grid: pixels are copied, not resampled."""
LARGEST_SOURCE_PX = 2**24
"""Source pixels read at once (64 MB of RGBA); larger boxes are read in halves, so memory stays bounded."""


class _Span(NamedTuple):
    """Where the pixels of a box lie in a level, along one axis, in level pixels."""

    start: float
    scale: float
    """Level pixels per frame pixel."""
    pixels: int
    """Frame pixels."""

    @property
    def stop(self) -> float:
        return self.start + self.scale * self.pixels


def read_box(slide: Slide, frame: Frame, box: Box) -> npt.NDArray[np.uint8]:
    """Read a box of a frame as (height, width, 3) RGB uint8.

    Parameters
    ----------
    frame
        Any downsample and origin; usually `slide.info.frame_at(mpp)`.
    box
        In pixels of the frame. Beyond the frame's edge the pixels are the mirrored inside (edge pixel twice,
        `np.pad(mode="symmetric")`), so that the network sees tissue there and no artificial border.

    Raises
    ------
    SlideError
        E-SLIDE-READ.
    """
    return _mirrored_beyond(frame, box, lambda inside: _read_inside(slide, frame, inside))


def thumbnail(slide: Slide, max_px: int) -> tuple[npt.NDArray[np.uint8], Frame]:
    """Read the slide's whole area at most `max_px` wide and high, never enlarged; memory stays bounded.

    Returns
    -------
    The (height, width, 3) RGB pixels and their frame.
    """
    area = slide.info.area
    frame = Frame.over(area, max(area.width / max_px, area.height / max_px, 1.0))
    return read_box(slide, frame, frame.box), frame


def best_level(levels: tuple[Frame, ...], downsample: float) -> int:
    """Give the coarsest level that is at least as fine as the downsample asked for; level 0 if none is."""
    fine = [index for index, level in enumerate(levels) if level.downsample <= downsample * LEVEL_SLACK]
    return max(fine, key=lambda index: levels[index].downsample, default=0)


def _mirrored_beyond(frame: Frame, box: Box, read: Callable[[Box], _Pixels]) -> _Pixels:
    """Read a box that may reach beyond the frame through `read`, which is only asked for boxes inside."""
    if box.intersection(frame.box) == box:
        return read(box)
    x, stop_x, left, right = _needed(box.x, box.right, frame.width)
    y, stop_y, above, below = _needed(box.y, box.bottom, frame.height)
    inside = read(Box(x, y, stop_x - x, stop_y - y))
    whole = cv2.copyMakeBorder(inside, above, below, left, right, cv2.BORDER_REFLECT)
    found: _Pixels = whole[box.moved(left - x, above - y).slices]
    return found


def _needed(start: int, stop: int, size: int) -> tuple[int, int, int, int]:
    """Say along one axis which inside pixels a box shows, [first, last), and how many lie beyond each edge."""
    before, after = max(-start, 0), max(stop - size, 0)
    first = 0 if before else max(min(start, size - after), 0)
    last = size if after else min(max(stop, before), size)
    return first, last, before, after


def _read_inside(slide: Slide, frame: Frame, box: Box) -> _Pixels:
    """Read a box that lies inside the frame, in halves where its source is too large."""
    index = best_level(slide.info.levels, frame.downsample)
    level = slide.info.levels[index]
    scale = frame.downsample / level.downsample
    if box.width * box.height * scale**2 > LARGEST_SOURCE_PX and max(box.shape) > 1:
        first, second = _halves(box)
        parts = [_read_inside(slide, frame, first), _read_inside(slide, frame, second)]
        return np.concatenate(parts, axis=1 if first.height == box.height else 0)
    x, y = frame.origin[0] / level.downsample, frame.origin[1] / level.downsample
    drift = abs(scale - round(scale)) * max(frame.shape) + abs(x - round(x)) + abs(y - round(y))
    if round(scale) >= 1 and drift < COPY_DRIFT_PX:
        return _read_aligned(slide, index, box, round(scale), (round(x), round(y)))
    across, down = _Span(x + scale * box.x, scale, box.width), _Span(y + scale * box.y, scale, box.height)
    return _read_resampled(slide, index, across, down)


def _halves(box: Box) -> tuple[Box, Box]:
    """Cut a box across its longer side."""
    if box.width > box.height:
        half = box.width // 2
        return Box(box.x, box.y, half, box.height), Box(box.x + half, box.y, box.width - half, box.height)
    half = box.height // 2
    return Box(box.x, box.y, box.width, half), Box(box.x, box.y + half, box.width, box.height - half)


def _read_aligned(slide: Slide, level: int, box: Box, scale: int, origin: tuple[int, int]) -> _Pixels:
    """Read a box each of whose pixels is `scale` x `scale` whole level pixels: their mean, or a plain copy."""
    x, y = origin[0] + scale * box.x, origin[1] + scale * box.y
    source = _read_level(slide, level, Box(x, y, box.width * scale, box.height * scale))
    if scale == 1:
        return source
    mean: _Pixels = cv2.resize(source, (box.width, box.height), interpolation=cv2.INTER_AREA)
    return mean


def _read_resampled(slide: Slide, level: int, across: _Span, down: _Span) -> _Pixels:
    """Read the level pixels under two spans, with context, and filter them to the frame's pixels."""
    # The filter reaches two pixels of the coarser grid to each side (bicubic), one when shrinking (Hamming,
    # which antialiases without bicubic's ringing around dark nuclei).
    context = ceil(2 * max(across.scale, 1.0))
    x, y = floor(across.start) - context, floor(down.start) - context
    region = Box(x, y, ceil(across.stop) + context - x, ceil(down.stop) + context - y)
    image = Image.fromarray(_read_level(slide, level, region))
    resample = Image.Resampling.HAMMING if across.scale > 1 else Image.Resampling.BICUBIC
    window = (across.start - x, down.start - y, across.stop - x, down.stop - y)
    return np.array(image.resize((across.pixels, down.pixels), resample, box=window))


def _read_level(slide: Slide, level: int, region: Box) -> _Pixels:
    """Read level pixels; those beyond the level's edge mirror its inside."""
    frame = slide.info.levels[level]

    def read(box: Box) -> _Pixels:
        location = (round(box.x * frame.downsample), round(box.y * frame.downsample))
        return slide.read_region(location, level, (box.width, box.height))

    return _mirrored_beyond(frame, region, read)
