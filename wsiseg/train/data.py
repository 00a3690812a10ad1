"""Labelled fields from folders with an `index.csv`, and random crops of them at the model's resolution.

A data folder holds `index.csv` with the columns image, instances, group, split and mpp; the files it names lie
below the folder. Instance maps are 16-bit PNGs, 0 = background, 1..n = nuclei.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.models.heads import Head

_COLUMNS = ("image", "instances", "group", "split", "mpp")


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """One line of an `index.csv`."""

    image: Path
    instances: Path
    group: str
    """Patient or organ: what must not be in two splits."""
    split: str
    mpp: float


@dataclass(frozen=True, slots=True)
class TrainingField:
    """One field in memory, at its own resolution, with the head's targets computed once."""

    rgb: npt.NDArray[np.uint8]
    """(h, w, 3)."""
    targets: npt.NDArray[np.uint8]
    """(h, w, maps), 0..255 for 0..1; scale-free, so they can be resized with the image."""
    mpp: float


def read_index(folder: Path, split: str) -> list[FieldEntry]:
    """List the fields of one split, in the file's order.

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
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise SettingsError("E-DATA", f"columns are missing: {', '.join(missing)}", where=index)
        rows = [row for row in reader if row["split"] == split]
    if not rows:
        raise SettingsError("E-DATA", f"no field has the split {split!r}", where=index)
    return [_entry(folder, row, index) for row in rows]


def _entry(folder: Path, row: dict[str, str], index: Path) -> FieldEntry:
    image, instances = folder / row["image"], folder / row["instances"]
    for path in (image, instances):
        if not path.is_file():
            raise SettingsError("E-DATA", "a file named in index.csv is not there", where=path)
    try:
        mpp = float(row["mpp"])
    except ValueError:
        mpp = 0.0
    if not 0.01 < mpp < 100:
        raise SettingsError("E-DATA", f"mpp {row['mpp']!r} of {row['image']} cannot be true", where=index)
    return FieldEntry(image, instances, row["group"], row["split"], mpp)


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


def load_field(entry: FieldEntry, head: Head) -> TrainingField:
    """Read one field and compute the head's targets."""
    rgb, labels = read_rgb(entry.image), read_labels(entry.instances)
    if rgb.shape[:2] != labels.shape:
        raise SettingsError("E-DATA", "image and instance map differ in size", where=entry.image)
    targets = np.rint(head.targets(labels) * 255).astype(np.uint8)
    return TrainingField(rgb, np.ascontiguousarray(targets.transpose(1, 2, 0)), entry.mpp)


class CropSampler:
    """Random crops of fields from several sources, each source with its own share of the crops."""

    def __init__(
        self, sources: Sequence[Sequence[TrainingField]], shares: Sequence[float], mpp: float, crop_px: int
    ) -> None:
        self._sources = sources
        self._shares = np.asarray(shares, np.float64) / np.sum(shares)
        self._mpp = mpp
        self._crop_px = crop_px

    def draw(
        self, random: np.random.Generator, scale: float
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Give one crop: (crop, crop, 3) pixels and (crop, crop, maps) targets.

        Parameters
        ----------
        scale
            Zoom beside the one that brings the field to the model's mpp; above 1 nuclei look larger. A field
            too small for the zoom gives all it has.
        """
        source = self._sources[int(random.choice(len(self._sources), p=self._shares))]
        chosen = source[int(random.integers(len(source)))]
        height, width = chosen.targets.shape[:2]
        side = min(round(self._crop_px * self._mpp / chosen.mpp / scale), height, width)
        y = int(random.integers(height - side + 1))
        x = int(random.integers(width - side + 1))
        part = slice(y, y + side), slice(x, x + side)
        return resized(chosen.rgb[part], self._crop_px), resized(chosen.targets[part], self._crop_px)


def resized(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Resize a square (h, h, channels) image to (side, side, channels)."""
    method = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_LINEAR
    out = cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=method)
    return np.asarray(out, np.uint8).reshape(side, side, -1)
