"""The NuCLS data set as published: what lies in its folders, read and checked, nothing interpreted.

`rgb`, `csv`, `mask` and `visualization` hold one file a field, all of one name, which gives slide, id and the
image's box in level-0 pixels; multi-rater files carry a prefix. The table in `csv` has a row a nucleus, with its
class and its boundary. Channel 0 of a mask is the class code (`nucleus_GTcodes.csv`): 0 = outside the field,
`FIELD` = inside it but no nucleus, 99 = nucleus of unknown class, anything else a nucleus of a known one.
Channels 1 and 2 tell nuclei apart; the background inside the field has a pair of its own.

Sources: https://sites.google.com/view/nucls/data-format and the code of the paper (PathologyDataScience/NuCLS).
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.errors import SettingsError
from wsiseg.train.nucls.decode import UnusableFileError, decode_png
from wsiseg.train.nucls.grouping import main_class, super_class

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

MPP = 0.2
"""um per pixel of every published image, mask and table."""
OUTSIDE, FIELD = 0, 253
"""Codes of a mask's channel 0 that are no nuclei."""
OUTLINE, BOX, POINT = "outline", "box", "point"
"""How a nucleus was labelled: by its boundary, by a rectangle around it, by a place in it."""

_KINDS = {"polyline": OUTLINE, "rectangle": BOX}
_COLUMNS = ("raw_classification", "type", "coords_x", "coords_y")
_POINT_SIDE_PX = 30.0
"""A point stands for a square of 6 um, about a nucleus."""
_SIZE_SLACK_PX = 2
"""Image and mask of a field differ by a pixel here and there; more than this is another field's mask."""
_NAME = re.compile(
    r".*?(?P<slide>(?P<patient>TCGA-\w{2}-\w{4})[A-Za-z0-9-]*)_id-\w+"
    r"_left-(?P<left>\d+)_top-(?P<top>\d+)_bottom-(?P<bottom>\d+)_right-(?P<right>\d+)"
)


@dataclass(frozen=True, slots=True)
class FieldName:
    """What a file name says."""

    name: str
    """Without its ending."""
    slide: str
    patient: str
    size_level0: tuple[int, int]
    """(width, height) of the image in level-0 pixels of the slide."""

    @classmethod
    def parse(cls, name: str) -> FieldName | None:
        """Read a name; None if it is not a field's."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        width = int(found["right"]) - int(found["left"])
        height = int(found["bottom"]) - int(found["top"])
        return cls(name, found["slide"], found["patient"], (width, height)) if min(width, height) > 0 else None


@dataclass(frozen=True, slots=True)
class Nucleus:
    """One row of a field's table."""

    raw_class: str
    main_class: str
    super_class: str
    kind: str
    """`OUTLINE`, `BOX` or `POINT`."""
    ring: npt.NDArray[np.float64]
    """(points, 2) boundary, (x, y) in pixels of the image; whole numbers lie on the corners of pixels."""

    @property
    def area_um2(self) -> float:
        """Area inside the ring."""
        x, y = self.ring.T
        return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 * MPP**2)


@dataclass(frozen=True, slots=True)
class PublishedMask:
    """A field's mask, taken apart."""

    codes: npt.NDArray[np.uint8]
    """(h, w) class codes: channel 0."""
    objects: npt.NDArray[np.int32]
    """(h, w) one number an object, the background's included."""


@dataclass(frozen=True, slots=True)
class PublishedField:
    """One field; image and mask already have the same size."""

    name: FieldName
    rgb: npt.NDArray[np.uint8]
    """(h, w, 3)."""
    nuclei: tuple[Nucleus, ...]
    mask: PublishedMask | None
    """None where none was published."""


def field_files(source: Path) -> list[Path]:
    """List the images of a data set, by name.

    Raises
    ------
    SettingsError
        E-DATA: no folder `rgb` with PNG images, or no folder `csv`.
    """
    for folder in ("rgb", "csv"):
        if not (source / folder).is_dir():
            raise SettingsError(
                "E-DATA",
                f"no folder {folder!r} there",
                where=source,
                fix="give the folder of NuCLS that holds rgb, csv and mask",
            )
    images = _files(source / "rgb", ".png")
    if not images:
        raise SettingsError("E-DATA", "no PNG image in the folder 'rgb'", where=source)
    return images


def orphans(source: Path) -> Iterator[UnusableFileError]:
    """Name the tables, masks and visualizations that belong to no image, and the broken visualizations."""
    images = {path.stem for path in _files(source / "rgb", ".png")}
    for folder, ending in (("csv", ".csv"), ("mask", ".png"), ("visualization", ".png")):
        for path in _files(source / folder, ending):
            # Tables about all fields, such as ALL_FOV_LOCATIONS.csv, lie there too.
            if path.stem not in images and FieldName.parse(path.stem):
                yield UnusableFileError(f"{folder}/{path.name}", "no image of that name in rgb/")
            elif folder == "visualization":
                try:
                    decode_png(path)
                except UnusableFileError as broken:
                    yield broken


def read_field(image: Path) -> PublishedField:
    """Read and check one field, given its file in `rgb`.

    Raises
    ------
    UnusableFileError
        One of its files is missing, broken or another field's.
    """
    source = image.parent.parent
    name = FieldName.parse(image.stem)
    if name is None:
        raise UnusableFileError(f"rgb/{image.name}", "the name does not give slide, id and box")
    rgb = decode_png(image)
    nuclei = _read_table(source / "csv" / f"{name.name}.csv")
    mask_file = source / "mask" / image.name
    if not mask_file.is_file():
        return PublishedField(name, rgb, nuclei, None)
    mask = decode_png(mask_file)
    if np.abs(np.subtract(mask.shape, rgb.shape)).max() > _SIZE_SLACK_PX:
        sizes = " and ".join(f"{picture.shape[1]} x {picture.shape[0]}" for picture in (rgb, mask))
        raise UnusableFileError(f"mask/{image.name}", f"image and mask differ in size: {sizes}")
    height, width = np.minimum(mask.shape, rgb.shape)[:2]
    mask = mask[:height, :width]
    # The data set multiplies channels 1 and 2; products of many objects meet (1 x 6 = 2 x 3), pairs do not.
    objects = mask[..., 1].astype(np.int32) * 256 + mask[..., 2]
    return PublishedField(name, rgb[:height, :width], nuclei, PublishedMask(mask[..., 0], objects))


def _files(folder: Path, ending: str) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() == ending)
    return sorted(path for path in found if not path.name.startswith("."))


def _read_table(path: Path) -> tuple[Nucleus, ...]:
    file = f"csv/{path.name}"
    if not path.is_file():
        raise UnusableFileError(file, "missing")
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, strict=True)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UnusableFileError(file, f"columns are missing: {', '.join(missing)}")
            return tuple(_nucleus(row, f"row {number}", file) for number, row in enumerate(reader, 1))
    except OSError as error:
        raise UnusableFileError(file, f"cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnusableFileError(file, f"not a CSV table ({error})") from error


def _nucleus(row: dict[str, str | None], place: str, file: str) -> Nucleus:
    # A class that a pathologist corrected is published as correction_tumor, for example.
    raw = (row["raw_classification"] or "").removeprefix("correction_")
    try:
        x, y = (np.array((row[name] or "").split(","), np.float64) for name in ("coords_x", "coords_y"))
    except ValueError:
        raise UnusableFileError(file, f"{place}: a coordinate is not a number") from None
    if len(x) != len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UnusableFileError(file, f"{place}: coords_x and coords_y do not make points")
    kind = _KINDS.get(row["type"] or "", POINT) if len(x) > 2 else POINT
    ring = np.stack([x, y], 1)
    if kind == POINT:
        ring = ring.mean(0) + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * _POINT_SIDE_PX / 2
    main = row.get("main_classification") or main_class(raw)
    return Nucleus(raw or "unlabeled", main, row.get("super_classification") or super_class(raw), kind, ring)
