"""Slides through tiffslide, which finds levels and pixel size, and tifffile, which decodes tile by tile.

OME-TIFF and other TIFFs that OpenSlide refuses; and JPEG tiles with the pixels of OpenSlide, in half its time.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import tifffile
import tiffslide
from tifffile.tifffile import jpeg_shape

from wsiseg.errors import SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides.base import SlideInfo
from wsiseg.slides.handles import HandleGuard, level_box, over_background, read_error
from wsiseg.slides.mpp import Mpp, stated_mpp
from wsiseg.slides.properties import background_colour, positive_number, stated_bounds
from wsiseg.slides.tile_cache import TileCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

CACHE_BYTES = 128 * 2**20
"""Decoded tiles kept by all handles of this process together: windows overlap by their halo."""
_END_OF_IMAGE = b"\xff\xd9"


class TiffSlideSlide:
    """A slide described by tiffslide; see `wsiseg.slides.base.Slide`. Not thread-safe: read through a `SlidePool`.

    tiffslide's own `read_region` goes through zarr, which costs a third of the speed, and keeps no decoded tile.
    """

    def __init__(self, path: Path, mpp: Mpp | None = None) -> None:
        self._guard = HandleGuard(path)
        self._handle = _open(path)
        self._pages = _level_pages(self._handle)
        self._file = self._handle.ts_tifffile.filehandle
        status = os.stat(path)
        self._content = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
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
        box = level_box(self.info.levels[level], location, size)
        pixels = np.empty((*box.shape, 3), np.uint8) if out is None else out
        try:
            for index, tile in _tiles(self._pages[level], box):
                part = tile.intersection(box)
                source = self._tile(level, index, tile)[part.moved(-tile.x, -tile.y).slices]
                pixels[part.moved(-box.x, -box.y).slices] = source
        except MemoryError:
            raise
        except Exception as error:  # tifffile and each codec raise errors of their own
            raise read_error(self.info.path, box, level, error) from error
        return pixels

    def close(self) -> None:
        """Close the handle."""
        if not self._guard.closed:
            self._guard.closed = True
            self._handle.close()

    def _tile(self, level: int, index: int, tile: Box) -> npt.NDArray[np.uint8]:
        """Give a tile's pixels, (height, width, 3); those at the level's edge may be cut there."""
        page = self._pages[level]
        if page.databytecounts[index] == 0:  # never written
            return np.broadcast_to(np.array(self.info.background, np.uint8), (*tile.shape, 3))
        key = (self._content, level, index)
        pixels = shared_cache().get(key)
        if pixels is None:
            pixels = self._decoded(page, index)
            shared_cache().keep(key, pixels)
        return pixels

    def _decoded(self, page: Any, index: int) -> npt.NDArray[np.uint8]:  # noqa: ANN401  tifffile is not typed
        self._file.seek(page.dataoffsets[index])
        data = self._file.read(page.databytecounts[index])
        if page.compression == tifffile.COMPRESSION.JPEG and not page.jpegheader:
            _check_jpeg(data, page)
        planes, *_ = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
        pixels: npt.NDArray[np.uint8] = planes[0]
        return over_background(pixels, self.info.background) if pixels.shape[2] == 4 else pixels


@cache
def shared_cache() -> TileCache:
    """One a process, so that threads find what others decoded."""
    return TileCache(CACHE_BYTES)


def _tiles(page: Any, box: Box) -> Iterator[tuple[int, Box]]:  # noqa: ANN401
    """Give index and place of the tiles that a box meets; a strip is a tile as wide as the image."""
    width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    across = -(-page.imagewidth // width)
    for row in range(box.y // height, -(-box.bottom // height)):
        for column in range(box.x // width, -(-box.right // width)):
            yield row * across + column, Box(column * width, row * height, width, height)


def _check_jpeg(data: bytes, page: Any) -> None:  # noqa: ANN401
    """Refuse a JPEG that claims more than its tile, or was cut: decoders reserve the one and fill up the other."""
    _, height, width, _ = jpeg_shape(data)
    if page.is_tiled and (height > page.tilelength or width > page.tilewidth):
        raise ValueError(f"a tile holds a JPEG of {width} x {height} px")
    if _END_OF_IMAGE not in data:
        raise ValueError("the JPEG of a tile has no end")


def _open(path: Path) -> Any:  # noqa: ANN401  tiffslide is not typed
    try:
        with warnings.catch_warnings():
            # "metadata parsing only partially implemented": what is missing is reported as missing.
            warnings.simplefilter("ignore")
            handle = tiffslide.TiffSlide(path)
            _ = handle.properties, handle.level_dimensions  # parsed on first use
    except Exception as error:  # tiffslide passes on whatever tifffile and its parsers raise
        raise SlideError("E-SLIDE-FORMAT", f"tiffslide: {error}", where=path) from error
    try:
        _check_pixels(path, handle)
    except SlideError:
        handle.close()
        raise
    return handle


def _check_pixels(path: Path, handle: Any) -> None:  # noqa: ANN401
    """Refuse what is not one pyramid of interleaved 8-bit RGB."""
    if "tiffslide.series-composition" in handle.properties:
        raise SlideError("E-SLIDE-FORMAT", "tiffslide: levels are composed of images, as in Leica SCN", where=path)
    for page in _level_pages(handle):
        if page.samplesperpixel not in (3, 4) or page.dtype != np.uint8 or page.planarconfig != 1:
            shape = f"{page.samplesperpixel} samples of type {page.dtype}"
            raise SlideError("E-PIXEL-FORMAT", f"the pixels are {shape}, not 8-bit RGB", where=path)


def _level_pages(handle: Any) -> list[Any]:  # noqa: ANN401
    """Give tifffile's page of each level."""
    series = handle.ts_tifffile.series[handle.properties["tiffslide.series-index"]]
    return [level.keyframe for level in series.levels]


def _describe(path: Path, handle: Any, mpp: Mpp | None) -> SlideInfo:  # noqa: ANN401
    properties: Mapping[str, object] = handle.properties
    sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
    levels = tuple(Frame(width, height, downsample) for (width, height), downsample in sizes)
    return SlideInfo(
        path=path,
        reader="tiffslide",
        reader_version=_versions(),
        vendor=str(properties.get("tiffslide.vendor") or "generic-tiff"),
        levels=levels,
        mpp=mpp or stated_mpp(properties, "tiffslide"),
        objective_power=positive_number(properties.get("tiffslide.objective-power")),
        background=background_colour(properties.get("tiffslide.background-color")),
        bounds=stated_bounds(properties, "tiffslide", levels[0].box),
    )


def _versions() -> str:
    return ", ".join(f"{one.__name__} {one.__version__}" for one in (tiffslide, tifffile, imagecodecs))
