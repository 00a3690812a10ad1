"""Slides through tiffslide (tifffile): OME-TIFF and other tiled TIFFs that OpenSlide refuses."""

from __future__ import annotations

import warnings
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import tiffslide

from wsiseg.errors import SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides.base import SlideInfo
from wsiseg.slides.handles import HandleGuard, level_box, over_background, read_error
from wsiseg.slides.mpp import Mpp, stated_mpp
from wsiseg.slides.properties import background_colour, positive_number, stated_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt


class TiffSlideSlide:
    """A slide opened by tiffslide; see `wsiseg.slides.base.Slide`. Not thread-safe: read through a `SlidePool`."""

    def __init__(self, path: Path, mpp: Mpp | None = None) -> None:
        self._guard = HandleGuard(path)
        self._handle = _open(path)
        self.info = _describe(path, self._handle, mpp)
        self._missing = [_missing_tiles(page) for page in _level_pages(self._handle)]

    def read_region(
        self,
        location: tuple[int, int],
        level: int,
        size: tuple[int, int],
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Read pixels of one level; see `wsiseg.slides.base.Handle`."""
        self._guard.check()
        downsample = self.info.levels[level].downsample
        box = level_box(self.info.levels[level], location, size)
        corner = (_level0_of(box.x, downsample), _level0_of(box.y, downsample))
        try:
            pixels = self._handle.read_region(corner, level, size, as_array=True, padding=False)
        except MemoryError:
            raise
        except Exception as error:  # tifffile, zarr and each codec raise errors of their own
            raise read_error(self.info.path, box, level, error) from error
        for tile in self._missing[level]:
            # tiffslide shows a tile that was never written as black, which looks like one dense nucleus.
            part = tile.intersection(box).moved(-box.x, -box.y)
            pixels[part.slices] = (*self.info.background, 255)[: pixels.shape[2]]
        if pixels.shape[2] == 4:
            return over_background(pixels, self.info.background, out)
        if out is None:
            return np.ascontiguousarray(pixels)
        np.copyto(out, pixels)
        return out

    def close(self) -> None:
        """Close the handle."""
        if not self._guard.closed:
            self._guard.closed = True
            self._handle.close()


def _open(path: Path) -> Any:  # noqa: ANN401  tiffslide is not typed
    try:
        with warnings.catch_warnings():
            # "metadata parsing only partially implemented": what is missing is reported as missing.
            warnings.simplefilter("ignore")
            handle = tiffslide.TiffSlide(path)
            _ = handle.properties, handle.level_dimensions  # parsed on first use
    except Exception as error:  # tiffslide passes on whatever tifffile and its parsers raise
        raise SlideError("E-SLIDE-FORMAT", f"tiffslide: {error}", where=path) from error
    page = _level_pages(handle)[0]
    if page.samplesperpixel not in (3, 4) or page.dtype != np.uint8:
        handle.close()
        shape = f"{page.samplesperpixel} samples of type {page.dtype}"
        raise SlideError("E-PIXEL-FORMAT", f"the pixels are {shape}, not 8-bit RGB", where=path)
    return handle


def _level_pages(handle: Any) -> list[Any]:  # noqa: ANN401
    """Give tifffile's page of each level."""
    series = handle.ts_tifffile.series[handle.properties["tiffslide.series-index"]]
    return [level.keyframe for level in series.levels]


def _missing_tiles(page: Any) -> list[Box]:  # noqa: ANN401
    """Give the boxes of tiles that have no bytes in the file, in pixels of the level."""
    if not page.is_tiled:
        return []
    across = -(-page.imagewidth // page.tilewidth)
    width, height = page.tilewidth, page.tilelength
    empty = np.flatnonzero(np.asarray(page.databytecounts) == 0).tolist()
    return [Box(each % across * width, each // across * height, width, height) for each in empty]


def _level0_of(position: int, downsample: float) -> int:
    """Give the level-0 coordinate that tiffslide, which rounds down, takes for a pixel of the level."""
    location = ceil(position * downsample)
    return location if int(location / downsample) >= position else location + 1


def _describe(path: Path, handle: Any, mpp: Mpp | None) -> SlideInfo:  # noqa: ANN401
    properties: Mapping[str, object] = handle.properties
    sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
    levels = tuple(Frame(width, height, downsample) for (width, height), downsample in sizes)
    return SlideInfo(
        path=path,
        reader="tiffslide",
        reader_version=f"tiffslide {tiffslide.__version__}, tifffile {tifffile.__version__}",
        vendor=str(properties.get("tiffslide.vendor") or "generic-tiff"),
        levels=levels,
        mpp=mpp or stated_mpp(properties, "tiffslide"),
        objective_power=positive_number(properties.get("tiffslide.objective-power")),
        background=background_colour(properties.get("tiffslide.background-color")),
        bounds=stated_bounds(properties, "tiffslide", levels[0].box),
    )
