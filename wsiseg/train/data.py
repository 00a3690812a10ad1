"""Labelled fields from folders with an `index.csv`.

A data folder holds `index.csv` with the columns image, instances, group, split and mpp; the files it names lie
below the folder. Instance maps are 16-bit PNGs, 0 = background, 1..n = nuclei. A column `ignore` may name 8-bit
PNGs that say where the truth is not to be trusted: `COUNTED`, `OUTSIDE_FIELD` or `BOX_ONLY` for each pixel. A
column `classes` may name those that say what each nucleus is (`wsiseg.train.classes`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.train.tasks import Task

_COLUMNS = ("image", "group", "split", "mpp")
COUNTED, OUTSIDE_FIELD, BOX_ONLY = 0, 1, 2
"""Values of an `ignore` map: the truth holds; nobody labelled here; a nucleus was labelled by its box alone."""


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """One line of an `index.csv`."""

    image: Path
    instances: Path
    """The truth: an instance map, or the file of the other column that was asked for."""
    group: str
    """Patient or organ: what must not be in two splits."""
    split: str
    mpp: float
    ignore: Path | None = None
    classes: Path | None = None


@dataclass(frozen=True, slots=True)
class TrainingField:
    """One field in memory, at its own resolution, with its targets computed once."""

    rgb: npt.NDArray[np.uint8]
    """(h, w, 3)."""
    targets: npt.NDArray[np.uint8]
    """(h, w, planes), 0..255 for 0..1; scale-free, so they can be resized with the image."""
    counted: npt.NDArray[np.uint8]
    """(h, w); 255 where the truth holds, 0 where pixels are not to count."""
    mpp: float


ALL = "all"
"""In place of a split: every field."""


def read_index(folder: Path, split: str, truth: str = "instances") -> list[FieldEntry]:
    """List the fields of one split, or of all, in the file's order.

    Parameters
    ----------
    truth
        Column that names the files of the truth.

    Raises
    ------
    SettingsError
        E-DATA: no index, missing columns, a file that is not there, or no field of that split.
    """
    index = folder / "index.csv"
    if not index.is_file():
        raise SettingsError("E-DATA", "the data folder has no index.csv", where=folder)
    with index.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = [name for name in (*_COLUMNS, truth) if name not in (reader.fieldnames or ())]
        if missing:
            raise SettingsError("E-DATA", f"columns are missing: {', '.join(missing)}", where=index)
        rows = [row for row in reader if split in (row["split"], ALL)]
    if not rows:
        raise SettingsError("E-DATA", f"no field has the split {split!r}", where=index)
    return [_entry(row, truth, index) for row in rows]


def _entry(row: dict[str, str], truth: str, index: Path) -> FieldEntry:
    folder = index.parent
    image, instances = folder / row["image"], folder / row[truth]
    ignore, classes = (folder / row[name] if row.get(name) else None for name in ("ignore", "classes"))
    for path in (image, instances, ignore, classes):
        if path and not path.is_file():
            raise SettingsError("E-DATA", "a file named in index.csv is not there", where=path)
    try:
        mpp = float(row["mpp"])
    except ValueError:
        mpp = 0.0
    if not 0.01 < mpp < 100:
        raise SettingsError("E-DATA", f"mpp {row['mpp']!r} of {row['image']} cannot be true", where=index)
    return FieldEntry(image, instances, row["group"], row["split"], mpp, ignore, classes)


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file as (h, w, 3) RGB."""
    # imdecode instead of imread: it takes paths with umlauts on Windows too.
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SettingsError("E-DATA", "the image cannot be decoded", where=path)
    return np.asarray(image, np.uint8)


def read_labels(path: Path) -> npt.NDArray[np.int32]:
    """Read an instance map as (h, w) labels."""
    labels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        raise SettingsError("E-DATA", "the instance map is not a one-channel image", where=path)
    return np.asarray(labels, np.int32)


def read_ignore(entry: FieldEntry, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read a field's (h, w) map of `COUNTED`, `OUTSIDE_FIELD` and `BOX_ONLY`; all counted where it has none."""
    if entry.ignore is None:
        return np.full(shape, COUNTED, np.uint8)
    codes = cv2.imdecode(np.fromfile(entry.ignore, np.uint8), cv2.IMREAD_UNCHANGED)
    if codes is None or codes.shape != shape or codes.dtype != np.uint8 or codes.max() > BOX_ONLY:
        raise SettingsError("E-DATA", "not an ignore map of the image's size", where=entry.ignore)
    return np.asarray(codes, np.uint8)


def load_field(entry: FieldEntry, task: Task) -> TrainingField:
    """Read one field and compute the targets of what is learned."""
    rgb, targets = read_rgb(entry.image), np.rint(task.targets(entry) * 255).astype(np.uint8)
    shape = targets.shape[1:]
    if rgb.shape[:2] != shape:
        raise SettingsError("E-DATA", "image and instance map differ in size", where=entry.image)
    counted = np.where(read_ignore(entry, shape) == COUNTED, 255, 0).astype(np.uint8)
    return TrainingField(rgb, np.ascontiguousarray(targets.transpose(1, 2, 0)), counted, entry.mpp)
