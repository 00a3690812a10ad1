"""The masks as one pyramidal OME-TIFF, for viewers that read no Zarr: QuPath and Fiji through Bio-Formats.

Two images, as the store's labels: `classes` (uint8) and `nuclei` (uint32), each with its pyramid in SubIFDs, as
OME-TIFF wants it; OpenSlide reads the first at full size. Pixels are those of the model's frame, and where it lies
on the slide stands in each image's description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import orjson

from wsiseg import __version__, fsio
from wsiseg.export.omezarr import mask_arrays, read_classes, read_provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import tifffile
    import zarr

    from wsiseg.export import ExportHeader

TILE_PX = 512
"""Side of a tile."""

TILES_AT_ONCE = 8
"""Tiles read from the store together; a shard is as wide."""

_ID_NAMESPACE = uuid5(NAMESPACE_URL, "https://wsiseg/masks")


def export_ome_tiff(masks: Path, stem: Path, header: ExportHeader) -> list[Path]:
    """Write a mask store as OME-TIFF, tile by tile; see `wsiseg.export.MaskExporter`."""
    import tifffile

    path = stem.with_name(stem.name + ".ome.tif")
    arrays = mask_arrays(masks)
    classes = [{"value": one.value, "name": one.name, "color": list(one.rgb)} for one in read_classes(masks)]
    about = header.about() | read_provenance(masks) | {"classes": classes}
    common = {
        "UUID": str(uuid5(_ID_NAMESPACE, header.fingerprint)),
        "Creator": f"wsiseg {__version__}",
        "Description": orjson.dumps(about).decode(),
    }
    with (
        fsio.explained(path),
        fsio.open_new(fsio.partial_name(path)) as file,
        tifffile.TiffWriter(file, bigtiff=True, ome=True) as writer,
    ):
        for name, levels in (("classes", arrays.classes), ("nuclei", arrays.nuclei)):
            _write_pyramid(writer, levels, common | {"Name": name}, about["frame"]["mpp"])
    return [path]


def _write_pyramid(
    writer: tifffile.TiffWriter, levels: Sequence[Path], metadata: dict[str, Any], mpp: float
) -> None:
    """Write one image and its smaller levels; each of them is a SubIFD of the first."""
    import zarr

    for number, level in enumerate(levels):
        array = zarr.open_array(str(level), mode="r")
        um = {
            "PhysicalSizeX": mpp,
            "PhysicalSizeXUnit": "\u00b5m",
            "PhysicalSizeY": mpp,
            "PhysicalSizeYUnit": "\u00b5m",
        }
        writer.write(
            _tiles(array),
            shape=array.shape,
            dtype=array.dtype,
            photometric="minisblack",
            tile=(TILE_PX, TILE_PX),
            # What libtiff, Java and OpenSlide all read; a mask shrinks well under anything.
            compression="zlib",
            resolution=(1e4 / (mpp * 2**number),) * 2,
            resolutionunit="CENTIMETER",
            subifds=0 if number else len(levels) - 1,
            subfiletype=int(number > 0),
            metadata=None if number else {"axes": "YX", **metadata, **um},
        )


def _tiles(array: zarr.Array[Any]) -> Iterator[npt.NDArray[np.unsignedinteger[Any]]]:
    """Give an array's tiles, row by row; the last of a row or column may be smaller, which tifffile fills up."""
    height, width = array.shape
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX * TILES_AT_ONCE):
            strip = np.asarray(array[y : y + TILE_PX, x : x + TILE_PX * TILES_AT_ONCE])
            for left in range(0, strip.shape[1], TILE_PX):
                yield strip[:, left : left + TILE_PX]
