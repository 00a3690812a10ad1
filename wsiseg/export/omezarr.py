"""The layout and metadata of `masks.ome.zarr`. Knows no nuclei: it makes the label arrays, `stitch` fills them.

::

    masks.ome.zarr/          NGFF image: a small RGB overview (c, y, x), so that the root opens everywhere
      0 ... N-1
      labels/
        classes/ 0 ... N-1   uint8, the class of each pixel
        nuclei/  0 ... N-1   uint32, one id a nucleus

Every level of a pyramid is half the one before, by nearest neighbour for labels (pixel [::2, ::2], so that areas
stay unbiased) and by averaging for the overview.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from wsiseg import fsio
from wsiseg.geometry import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import zarr

Ngff = Literal["0.5", "0.4"]

TOP_LEVEL_PX = 512
"""The pyramid ends at the first level whose long side is at most this."""

CHUNKS_PER_SHARD = {"0.5": 8, "0.4": 4}
"""Chunks on a shard's side: 512 and 1024 px of 4096. 0.4 has no shards, so fewer and larger files pay."""

OVERVIEW_PX = 4096
"""Side of the overview's shards, and the longest that an overview should be."""


@dataclass(frozen=True, slots=True)
class MaskClass:
    """One class of `labels/classes`."""

    value: int
    """Its pixel value, 1 to 255; 0 is the background."""
    name: str
    rgb: tuple[int, int, int]
    """The colour that viewers show."""


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """What a mask store is made from."""

    frame: Frame
    """The plane of the labels: the model's frame."""
    mpp: float
    """um per pixel of `frame`."""
    shard_px: int
    """Side of a shard, px: the grid's block, because one task writes one block and nothing else."""
    classes: tuple[MaskClass, ...]
    ngff: Ngff = "0.5"
    """0.5 is zarr v3 with shards and checksums; 0.4 is zarr v2, the only one that Bio-Formats reads."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What `attributes.wsiseg` records beside the frame. No paths and no times: the bytes must not vary."""

    @property
    def level_shapes(self) -> list[tuple[int, int]]:
        """(height, width) of every label level, finest first."""
        shapes = [self.frame.shape]
        while max(shapes[-1]) > TOP_LEVEL_PX:
            height, width = shapes[-1]
            shapes.append((-(-height // 2), -(-width // 2)))
        return shapes


@dataclass(frozen=True, slots=True)
class MaskArrays:
    """The label arrays of a store, one path a level, finest first."""

    classes: tuple[Path, ...]
    nuclei: tuple[Path, ...]


def mask_arrays(path: Path) -> MaskArrays:
    """Give the label arrays of a store that exists."""

    def levels(name: str) -> tuple[Path, ...]:
        # A level is a folder with a number for a name; zarr.json, .zattrs and the like are its siblings.
        found = (level for level in (path / "labels" / name).iterdir() if level.name.isdigit())
        return tuple(sorted(found, key=lambda level: int(level.name)))

    return MaskArrays(levels("classes"), levels("nuclei"))


def read_classes(path: Path) -> tuple[MaskClass, ...]:
    """Give the classes that a store names, without the background, in their order."""
    label = _attributes(path / "labels" / "classes")["image-label"]
    names = {one["label-value"]: one["class"] for one in label["properties"]}
    return tuple(
        MaskClass(one["label-value"], names[one["label-value"]], tuple(one["rgba"][:3]))
        for one in label["colors"]
        if one["label-value"] != 0
    )


def read_provenance(path: Path) -> dict[str, Any]:
    """Give what a store says of itself: `StoreSpec.provenance`, and the frame of its labels."""
    found: dict[str, Any] = _attributes(path / "labels" / "classes")["wsiseg"]
    return found


def read_overview(path: Path) -> tuple[npt.NDArray[np.uint8], Frame]:
    """Give the small picture of the slide that a store has, (height, width, 3), and its plane."""
    import zarr

    finest = _attributes(path)["multiscales"][0]["datasets"][0]
    pixel_um = finest["coordinateTransformations"][0]["scale"][2]
    planes = np.asarray(zarr.open_array(str(path / finest["path"]), mode="r")[:], np.uint8)
    pixels = np.ascontiguousarray(np.moveaxis(planes, 0, 2))
    labels = read_provenance(path)["frame"]
    height, width = pixels.shape[:2]
    x, y = labels["origin_level0"]
    # Both planes begin at the same level-0 point.
    return pixels, Frame(width, height, pixel_um / (labels["mpp"] / labels["downsample"]), (float(x), float(y)))


def _attributes(path: Path) -> dict[str, Any]:
    """Give a group's attributes, those below `ome` beside the others."""
    version3, version2 = path / "zarr.json", path / ".zattrs"
    if version3.is_file():
        found: dict[str, Any] = orjson.loads(fsio.read(version3))["attributes"]
        ome: dict[str, Any] = found["ome"]
        return found | ome
    flat: dict[str, Any] = orjson.loads(fsio.read(version2))
    return flat


def create_store(
    path: Path, spec: StoreSpec, overview: npt.NDArray[np.uint8], overview_frame: Frame
) -> MaskArrays:
    """Make the store with its overview and with label arrays that hold only background.

    Parameters
    ----------
    path
        A folder that does not exist yet.
    overview
        (height, width, 3): the slide, small.
    overview_frame
        The plane of `overview`, which places it under the labels.
    """
    import zarr

    if overview.shape != (*overview_frame.shape, 3):
        raise ValueError(f"an overview of shape {overview.shape} does not fill {overview_frame}")
    root = zarr.create_group(str(path), zarr_format=_zarr_format(spec.ngff))
    _write_overview(root, spec, overview, overview_frame)
    labels = root.create_group("labels")
    names = ["classes", "nuclei"]
    # The second copy of the list, outside `ome`, is for vizarr, which looks for labels only there.
    labels.attrs.put(_ngff_attributes(spec, {"labels": names}) | {"labels": names})
    _create_labels(labels.create_group("classes"), spec, np.uint8, _class_label(spec))
    # One colour or property a nucleus would be a million entries of JSON: nuclei.parquet carries them.
    _create_labels(labels.create_group("nuclei"), spec, np.uint32, {})
    return mask_arrays(path)


def _zarr_format(ngff: Ngff) -> Literal[2, 3]:
    return 3 if ngff == "0.5" else 2


def _ngff_attributes(spec: StoreSpec, metadata: dict[str, Any]) -> dict[str, Any]:
    """Put NGFF metadata where its version wants it: 0.5 below `ome`, 0.4 at the top."""
    return {"ome": {"version": "0.5", **metadata}} if spec.ngff == "0.5" else metadata


def _version(spec: StoreSpec) -> dict[str, str]:
    # 0.4 states its version in each part, 0.5 once, in `ome`.
    return {"version": "0.4"} if spec.ngff == "0.4" else {}


def _create_labels(
    group: zarr.Group, spec: StoreSpec, dtype: type[np.unsignedinteger[Any]], image_label: dict[str, Any]
) -> None:
    """Make one label image: its empty levels and its metadata."""
    scales = []
    for level, shape in enumerate(spec.level_shapes):
        _create_level(group, level, spec.ngff, shape, dtype, (spec.shard_px, spec.shard_px))
        # No translation: pixel (0, 0) of a strided level has the very centre of level 0's pixel (0, 0).
        scales.append([{"type": "scale", "scale": [spec.mpp * 2**level] * 2}])
    metadata = {
        "multiscales": [_multiscale(spec, group.basename, "nearest", scales)],
        "image-label": {**_version(spec), **image_label, "source": {"image": "../../"}},
    }
    group.attrs.put(_ngff_attributes(spec, metadata) | {"wsiseg": _provenance(spec)})


def _create_level(
    group: zarr.Group,
    level: int,
    ngff: Ngff,
    shape: tuple[int, ...],
    dtype: type[np.unsignedinteger[Any]],
    shards: tuple[int, ...],
) -> zarr.Array[Any]:
    """Make one array. A chunk of nothing but background is never written: it reads as 0."""
    planes, sides = shards[:-2], shards[-2:]
    common: dict[str, Any] = {
        "shape": shape,
        "dtype": np.dtype(dtype).newbyteorder("<"),
        "chunks": (1,) * len(planes) + tuple(max(side // CHUNKS_PER_SHARD[ngff], 1) for side in sides),
        "fill_value": 0,
        "config": {"write_empty_chunks": False},
    }
    if ngff == "0.5":
        from zarr.codecs import ZstdCodec

        # Without the checksum 6 of 10 flipped bits decode to other labels and no error.
        codec = ZstdCodec(level=3, checksum=True)
        names = ("c", "y", "x")[-len(shape) :]
        return group.create_array(str(level), shards=shards, compressors=[codec], dimension_names=names, **common)
    from numcodecs import Blosc  # type: ignore[import-untyped]

    # Bio-Formats knows no bare zstd, and Blosc no checksum: the sha256 in COMPLETE.json stands in for it.
    # No shuffle: it makes labels a third larger.
    blosc = Blosc(cname="zstd", clevel=5, shuffle=Blosc.NOSHUFFLE)
    return group.create_array(
        str(level), compressors=[blosc], chunk_key_encoding={"name": "v2", "separator": "/"}, **common
    )


def _multiscale(
    spec: StoreSpec, name: str, method: str, transformations: Sequence[list[dict[str, Any]]]
) -> dict[str, Any]:
    """Give one entry of `multiscales`; an image has a channel axis, labels have none."""
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in ("y", "x")]
    if len(transformations[0][0]["scale"]) == 3:
        axes.insert(0, {"name": "c", "type": "channel"})
    return {
        **_version(spec),
        "name": name,
        "type": method,
        "axes": axes,
        "datasets": [
            {"path": str(level), "coordinateTransformations": steps} for level, steps in enumerate(transformations)
        ],
    }


def _class_label(spec: StoreSpec) -> dict[str, Any]:
    """Give the colours and names of the classes; NGFF wants the same label values in both."""
    return {
        "colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
        + [{"label-value": one.value, "rgba": [*one.rgb, 255]} for one in spec.classes],
        "properties": [{"label-value": 0, "class": "background"}]
        + [{"label-value": one.value, "class": one.name} for one in spec.classes],
    }


def _provenance(spec: StoreSpec) -> dict[str, Any]:
    """Say where on the slide the labels lie: a slide with bounds has them at an offset."""
    frame = spec.frame
    return {
        **spec.provenance,
        "frame": {
            "width": frame.width,
            "height": frame.height,
            "downsample": frame.downsample,
            "origin_level0": list(frame.origin),
            "mpp": spec.mpp,
        },
    }


def _write_overview(root: zarr.Group, spec: StoreSpec, image: npt.NDArray[np.uint8], frame: Frame) -> None:
    """Write the RGB pyramid, with as many levels as the labels have: NGFF 0.5 wants equal counts."""
    shards = (3, OVERVIEW_PX, OVERVIEW_PX)
    transformations = []
    for level in range(len(spec.level_shapes)):
        planes = np.moveaxis(image, 2, 0)
        array = _create_level(root, level, spec.ngff, planes.shape, np.uint8, shards)
        array[:] = np.ascontiguousarray(planes)
        transformations.append(_overview_transformations(spec, frame, 2**level))
        image = _halved(image)
    colours = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}
    metadata = {
        "multiscales": [_multiscale(spec, "overview", "mean", transformations)],
        "omero": {"channels": [_channel(label, colour) for label, colour in colours.items()]},
    }
    root.attrs.put(_ngff_attributes(spec, metadata) | {"wsiseg": _provenance(spec)})


def _overview_transformations(spec: StoreSpec, frame: Frame, factor: int) -> list[dict[str, Any]]:
    """Place one overview level in the labels' micrometres, whose zero is the centre of their first pixel."""
    mpp_level0 = spec.mpp / spec.frame.downsample
    pixel = frame.downsample * factor
    shift = [
        (origin + pixel / 2 - labels_origin - spec.frame.downsample / 2) * mpp_level0
        for origin, labels_origin in zip(frame.origin, spec.frame.origin, strict=True)
    ]
    return [
        {"type": "scale", "scale": [1.0, pixel * mpp_level0, pixel * mpp_level0]},
        {"type": "translation", "translation": [0.0, shift[1], shift[0]]},
    ]


def _channel(label: str, color: str) -> dict[str, Any]:
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    return {"label": label, "color": color, "active": True, "window": window}


def _halved(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Average 2 x 2 pixels; an odd last row or column is averaged with itself."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)
