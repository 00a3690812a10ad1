"""Which class the labelled nuclei of a data folder have.

Beside instance maps a column `classes` of `index.csv` may name 8-bit PNGs of the image's size: the class of each
pixel, `UNKNOWN` = background, or a nucleus of which nobody knows. Dots carry their class in their rows
(`wsiseg.train.dots`). A file `classes.csv` beside `index.csv` names the values, with the columns value and name;
without it they are those of the bundle that is trained or scored.
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

    from wsiseg.models.bundle import ClassSpec
    from wsiseg.train.data import FieldEntry

CLASSES_FILE = "classes.csv"
UNKNOWN = 0
"""Value of what has no class that is known."""
_MOST = 254
"""The highest value that a class of a bundle can have."""


def read_class_names(folder: Path) -> dict[int, str]:
    """Give the names of a data folder's classes by value, in the file's order; none if it has no `classes.csv`.

    Raises
    ------
    SettingsError
        E-DATA: a column is missing, a value is no whole number of 1 to 254, a name is empty, or one of them stands
        twice.
    """
    path = folder / CLASSES_FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    try:
        pairs = [(int(row["value"]), row["name"].strip()) for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SettingsError("E-DATA", "a row is not a value and a name", where=path) from None
    names = dict(pairs)
    if not all(0 < value <= _MOST and name for value, name in pairs):
        raise SettingsError("E-DATA", f"values are whole numbers of 1 to {_MOST}, each with a name", where=path)
    if not len(pairs) == len(names) == len(set(names.values())):
        raise SettingsError("E-DATA", "a value or a name stands twice", where=path)
    return names


def read_class_map(entry: FieldEntry, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read the (h, w) class values of a field's pixels; all `UNKNOWN` where it has no map.

    Raises
    ------
    SettingsError
        E-DATA: the map is not an 8-bit image of one channel and of the given shape.
    """
    if entry.classes is None:
        return np.full(shape, UNKNOWN, np.uint8)
    values = cv2.imdecode(np.fromfile(entry.classes, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.shape != shape or values.dtype != np.uint8:
        raise SettingsError("E-DATA", "not an 8-bit class map of the image's size", where=entry.classes)
    return np.asarray(values, np.uint8)


def classes_of_nuclei(labels: npt.NDArray[np.integer], class_map: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give the class of each nucleus of (h, w) labels, in the order of their numbers.

    It is the value that most of its pixels have, the lowest of equals; so a nucleus may be `UNKNOWN`.
    """
    inside = labels > 0
    names, nucleus = np.unique(labels[inside], return_inverse=True)
    votes = np.zeros((len(names), _MOST + 2), np.intp)
    np.add.at(votes, (nucleus, class_map[inside]), 1)
    most: npt.NDArray[np.uint8] = votes.argmax(axis=1).astype(np.uint8)
    return most


@dataclass(frozen=True, slots=True)
class TrueClasses:
    """The classes of a data folder beside those of a bundle; they are the same where their names are."""

    values: tuple[int, ...]
    """Of the data folder's classes."""
    names: tuple[str, ...]
    predicted: tuple[str, ...]
    """Names of the bundle's classes."""

    @classmethod
    def of(cls, folder: Path, classes: Sequence[ClassSpec]) -> TrueClasses:
        """Read a folder's names; without any, its values are the bundle's.

        Raises
        ------
        SettingsError
            E-DATA: as `read_class_names`.
        """
        names = read_class_names(folder) or {one.value: one.name for one in classes}
        return cls(tuple(names), tuple(names.values()), tuple(one.name for one in classes))

    def rows(self, values: npt.NDArray[np.uint8], where: Path) -> npt.NDArray[np.intp]:
        """Give the place of each value among the folder's classes, -1 for `UNKNOWN`.

        Raises
        ------
        SettingsError
            E-DATA: a value is of no class.
        """
        row_of = np.full(256, -2, np.intp)
        row_of[[UNKNOWN, *self.values]] = range(-1, len(self.values))
        rows: npt.NDArray[np.intp] = row_of[values]
        if (rows == -2).any():
            strange = ", ".join(map(str, np.unique(values[rows == -2])))
            raise SettingsError("E-DATA", f"no class has the value {strange}", where=where)
        return rows

    def expected(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Give the place among the bundle's classes that each of the folder's should have, or -1."""
        same = [self.predicted.index(name) if name in self.predicted else -1 for name in self.names]
        return np.array([*same, -1], np.intp)[rows]  # the last is for rows of -1
