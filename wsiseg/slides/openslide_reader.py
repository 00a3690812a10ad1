"""Slides through OpenSlide: Aperio, Hamamatsu, Leica, MIRAX, Philips, Ventana, DICOM, generic tiled TIFF."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide

from wsiseg.errors import SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides.base import SlideInfo
from wsiseg.slides.handles import HandleGuard, level_box, over_background, read_error
from wsiseg.slides.mpp import Mpp, stated_mpp
from wsiseg.slides.properties import background_colour, positive_number, stated_bounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

CACHE_BYTES = 128 * 2**20
"""Decoded tiles kept by all handles of this process together: a row of tiles under a 4096 px block."""
LATTICE_PX = 512
"""Side of the cells in which levels with a fractional downsample are read."""


class OpenSlideSlide:
    """A slide opened by libopenslide; see `wsiseg.slides.base.Slide`."""

    def __init__(self, path: Path, mpp: Mpp | None = None) -> None:
        self._guard = HandleGuard(path)
        try:
            self._handle = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise SlideError("E-SLIDE-FORMAT", f"OpenSlide: {error}", where=path) from error
        self._handle.set_cache(_shared_cache())
        self.info = _describe(path, self._handle, mpp)

    def read_region(
        self,
        location: tuple[int, int],
        level: int,
        size: tuple[int, int],
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Read pixels of one level; see `wsiseg.slides.base.Handle`."""
        self._guard.check()
        frame = self.info.levels[level]
        box = level_box(frame, location, size)
        if frame.downsample == round(frame.downsample):
            return self._read(box, level, out)
        # OpenSlide takes whole level-0 pixels. Where those do not fall on whole pixels of the level it shifts by
        # a fraction and interpolates, so the same pixel would differ from read to read. Reading whole cells of
        # a fixed lattice gives each pixel one value, whoever asks.
        pixels = np.empty((*box.shape, 3), np.uint8) if out is None else out
        for cell in _lattice(box, frame.box):
            part = cell.intersection(box)
            source = self._read(cell, level)[part.moved(-cell.x, -cell.y).slices]
            pixels[part.moved(-box.x, -box.y).slices] = source
        return pixels

    def close(self) -> None:
        """Close the handle."""
        if not self._guard.closed:
            self._guard.closed = True
            self._handle.close()

    def _read(self, box: Box, level: int, out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        downsample = self.info.levels[level].downsample
        location = (round(box.x * downsample), round(box.y * downsample))
        try:
            image = self._handle.read_region(location, level, (box.width, box.height))
        except openslide.OpenSlideError as error:
            raise read_error(self.info.path, box, level, error) from error
        return over_background(np.asarray(image), self.info.background, out)


@cache
def _shared_cache() -> Any:  # noqa: ANN401  openslide is not typed
    """One bounded cache a process: one for each handle grows with the number of threads and slides."""
    return openslide.OpenSlideCache(CACHE_BYTES)


def _lattice(box: Box, level: Box) -> Iterator[Box]:
    """Give the cells of the lattice that a box touches, cut at the level's edge."""
    side = LATTICE_PX
    for y in range(box.y // side * side, box.bottom, side):
        for x in range(box.x // side * side, box.right, side):
            yield Box(x, y, side, side).intersection(level)


def _describe(path: Path, handle: Any, mpp: Mpp | None) -> SlideInfo:  # noqa: ANN401  openslide is not typed
    properties: Mapping[str, str] = handle.properties
    sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
    levels = tuple(Frame(width, height, downsample) for (width, height), downsample in sizes)
    return SlideInfo(
        path=path,
        reader="openslide",
        reader_version=f"openslide-python {openslide.__version__}, OpenSlide {openslide.__library_version__}",
        vendor=properties.get("openslide.vendor", "unknown"),
        levels=levels,
        mpp=mpp or stated_mpp(properties, "openslide"),
        objective_power=positive_number(properties.get("openslide.objective-power")),
        background=background_colour(properties.get("openslide.background-color")),
        bounds=stated_bounds(properties, "openslide", levels[0].box),
    )
