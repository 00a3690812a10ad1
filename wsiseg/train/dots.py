"""Fields whose nuclei are marked by a dot each, and how many of the dots a prediction finds.

Such a data folder has a column `labels` in its `index.csv`, not `instances`: text files with a row `y x class` for
each nucleus, in pixels of the image, 0 = its first row or column; the class is a value as in
`wsiseg.train.classes`, and a row that lacks it has an unknown one. `ignore` maps are not read.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.errors import SettingsError
from wsiseg.train.classes import UNKNOWN
from wsiseg.train.metrics import Detections

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

DOTS = "labels"
"""Column of `index.csv` that names the files of dots."""


def labelled_by_dots(folder: Path) -> bool:
    """Tell whether a data folder has dots for its truth, and no instance maps."""
    index = folder / "index.csv"
    if not index.is_file():
        return False
    with index.open(newline="", encoding="utf-8") as lines:
        header = next(csv.reader(lines), [])
    return DOTS in header and "instances" not in header


@dataclass(frozen=True, slots=True, eq=False)
class Dots:
    """The n dots of a field."""

    places: npt.NDArray[np.float64]
    """(n, 2): y and x in pixels of the image; a dot stands for the centre of its pixel."""
    classes: npt.NDArray[np.uint8]
    """(n,): values as in `wsiseg.train.classes`."""


def read_dots(path: Path, shape: tuple[int, ...]) -> Dots:
    """Read the dots of an image of a shape.

    Raises
    ------
    SettingsError
        E-DATA: a row is not two numbers and a whole one, or its dot lies outside the image.
    """
    try:
        rows = [line.split() for line in path.read_text("utf-8").splitlines() if line.strip()]
        places = np.array([(float(row[0]), float(row[1])) for row in rows]).reshape(-1, 2)
        classes = np.array([int(row[2]) if len(row) > 2 else UNKNOWN for row in rows], np.uint8)
    except (IndexError, OverflowError, ValueError):
        raise SettingsError("E-DATA", "a row is not `y x class`, all numbers", where=path) from None
    if not ((places >= 0) & (places < shape[:2])).all():
        raise SettingsError("E-DATA", "a dot lies outside its image; rows are `y x class`", where=path)
    return Dots(places, classes)


def compare_dots(
    labels: npt.NDArray[np.integer], dots: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> Detections:
    """Compare (h, w) labels with the (n, 2) dots of an image of the same field.

    A dot is in the nucleus whose label is at the centre of the dot's pixel. A nucleus that holds a dot matches,
    one to one: each further dot in it is missed, as are dots on the background. A nucleus without a dot is a
    false one, at the image's edge too.

    Parameters
    ----------
    shape
        Of the image, whose pixels the dots are given in; the labels may have another resolution.
    """
    scale = np.array(labels.shape) / shape[:2]
    row, column = np.minimum((dots + 0.5) * scale, np.array(labels.shape) - 1).astype(np.intp).T
    held = np.unique(labels[row, column])
    return Detections(
        predicted=int(np.count_nonzero(np.unique(labels))), true=len(dots), matched=int(np.count_nonzero(held))
    )
