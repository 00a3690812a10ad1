"""What `wsiseg.open` gives: the labels, nuclei and picture of a finished run, for notebooks and scripts.

Reads only. Coordinates of nuclei are level-0 pixels of the slide; labels are in the plane of the masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import orjson
import shapely

from wsiseg import fsio
from wsiseg.errors import SettingsError
from wsiseg.export.omezarr import mask_arrays, read_overview
from wsiseg.geometry import Frame
from wsiseg.run.finished import open_finished
from wsiseg.run.folder import PARQUET, SUMMARY

if TYPE_CHECKING:
    from os import PathLike

    import dask.array
    import geopandas
    import numpy.typing as npt
    from PIL import Image

    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class LabelPyramids:
    """The mask pyramids of a run, finest level first; each level is half the one before. Axes are (y, x)."""

    classes: tuple[dask.array.Array, ...]
    """uint8: the value of each pixel's class, 0 for background, 255 for what could not be read."""
    nuclei: tuple[dask.array.Array, ...]
    """uint32: the `id` of each pixel's nucleus, 0 for none."""


class Results:
    """A finished run whose files have been checked; `wsiseg.open` gives it.

    Raises
    ------
    OutputError
        E-OUT-MISSING: there is no complete run.
    DamageError
        E-DAMAGED: a file is not what it was.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._run = open_finished(Path(path))

    def __repr__(self) -> str:
        return f"<wsiseg run {str(self.path)!r}: {self._run.total:,} nuclei of {self._run.header.slide!r}>"

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._run.path

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """Value, name and colour of each class."""
        return self._run.header.classes

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`: counts, densities, tile accounting, warnings, settings."""
        found: dict[str, Any] = orjson.loads(fsio.read(self.path / SUMMARY))
        return found

    @cached_property
    def labels(self) -> LabelPyramids:
        """The mask pyramids as Dask arrays over Zarr, one chunk a shard; nothing is read before it is computed."""
        import dask.array
        import zarr

        def lazy(level: Path) -> dask.array.Array:
            array = zarr.open_array(str(level), mode="r")
            return dask.array.from_array(array, chunks=array.shards or array.chunks)

        found = mask_arrays(self._run.masks)
        return LabelPyramids(tuple(map(lazy, found.classes)), tuple(map(lazy, found.nuclei)))

    @cached_property
    def nuclei(self) -> geopandas.GeoDataFrame:
        """The table of nuclei by `id`, with their polygons in level-0 pixels; docs/formats.md has its columns.

        Raises
        ------
        SettingsError
            E-USAGE: geopandas is not installed.
        """
        try:
            import geopandas
        except ImportError as error:
            fix = "pip install 'wsiseg[notebook]', or read nuclei.parquet with pyarrow"
            raise SettingsError("E-USAGE", "nuclei as a GeoDataFrame need geopandas", fix=fix) from error
        return geopandas.read_parquet(self.path / PARQUET).set_index("id")

    def thumbnail(self, max_px: int = 1024, *, outlines: bool = True) -> Image.Image:
        """Give the slide as a small RGB picture.

        Parameters
        ----------
        max_px
            Long side at most. The run keeps an overview of the slide, which is not enlarged.
        outlines
            Whether to draw the nuclei, in the colours of their classes. Where they are smaller than a pixel, lines
            run together; `overview.png` shows their density instead.

        Raises
        ------
        SettingsError
            E-USAGE: `max_px` is no size.
        """
        from PIL import Image

        if max_px < 1:
            raise SettingsError("E-USAGE", f"max_px is {max_px}", fix="give at least 1")
        picture, frame = _shrunk(*read_overview(self._run.masks), max_px)
        if outlines:
            colours = {one.value: one.color for one in self.classes}
            for nuclei in self._run.batches():
                _draw(picture, frame, nuclei, colours)
        return Image.fromarray(picture)


def _shrunk(pixels: npt.NDArray[np.uint8], frame: Frame, max_px: int) -> tuple[npt.NDArray[np.uint8], Frame]:
    """Make a picture of the slide no larger than asked."""
    factor = max(frame.shape) / max_px
    if factor <= 1:
        return pixels, frame
    size = max(round(frame.width / factor), 1), max(round(frame.height / factor), 1)
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller.astype(np.uint8, copy=False), Frame(*size, frame.downsample * factor, frame.origin)


def _draw(
    picture: npt.NDArray[np.uint8], frame: Frame, nuclei: Nuclei, colours: dict[int, tuple[int, int, int]]
) -> None:
    """Draw the outlines of nuclei, which have no holes, into a picture of the frame."""
    for value in np.unique(nuclei.class_value).tolist():
        polygons = nuclei.polygon[nuclei.class_value == value]
        # OpenCV's (0, 0) is the centre of the first pixel, ours its corner.
        points = frame.from_level0(shapely.get_coordinates(polygons)) - 0.5
        fixed = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
        rings = np.split(fixed, np.cumsum(shapely.get_num_coordinates(polygons))[:-1])
        cv2.polylines(
            picture, rings, isClosed=True, color=colours[value], lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS
        )
