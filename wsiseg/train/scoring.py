"""The score of one field: its maps decoded and compared with its truth, at the truth's resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg.errors import SettingsError
from wsiseg.train.classes import TrueClasses, classes_of_nuclei, read_class_map
from wsiseg.train.confusion import Confusion
from wsiseg.train.data import COUNTED, OUTSIDE_FIELD, read_ignore, read_labels
from wsiseg.train.dots import compare_dots, labelled_by_dots, read_dots
from wsiseg.train.metrics import compare, compare_outlines, counted_part, matched_pairs
from wsiseg.train.scores import FieldScore
from wsiseg.train.types import count_dots, count_overlaps, typed_nuclei

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.labels import Labels
    from wsiseg.models.bundle import ModelBundle
    from wsiseg.models.heads import Head
    from wsiseg.train.data import FieldEntry

    Pixels = npt.NDArray[np.uint8]

_HALF = 128
"""The lowest 8-bit value of a probability of at least 0.5."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the fields of a data folder are scored."""

    head: Head
    """What decodes the bundle's maps."""
    folder: Path
    by_dots: bool
    """Whether the truth is dots, not instance maps."""
    count_boxes: bool
    """Take nuclei that only a box marks as nuclei of the box's shape, instead of ignoring its pixels."""
    classes: TrueClasses | None
    """None for a bundle of one class, which tells no types."""

    @classmethod
    def of(cls, bundle: ModelBundle, folder: Path, *, count_boxes: bool) -> Scoring:
        """Look at what a data folder holds for a bundle.

        Raises
        ------
        SettingsError
            E-DATA: the names of its classes cannot be used.
        """
        classes = bundle.spec.classes
        told_apart = TrueClasses.of(folder, classes) if len(classes) > 1 else None
        return cls(bundle.head(), folder, labelled_by_dots(folder), count_boxes, told_apart)

    def score(self, entry: FieldEntry, shape: tuple[int, ...], maps: Pixels) -> FieldScore:
        """Score the (maps, h, w) maps of a field whose image has a shape.

        Raises
        ------
        SettingsError
            E-DATA: the truth cannot be used.
        """
        labels = self.head.decode(maps)
        if self.by_dots:
            return self._by_dots(entry, shape, maps, labels)
        return self._by_instances(entry, shape, maps, labels)

    def _by_dots(self, entry: FieldEntry, shape: tuple[int, ...], maps: Pixels, labels: Labels) -> FieldScore:
        """Score a field whose truth is dots."""
        dots, types = read_dots(entry.instances, shape), None
        if self.classes:
            rows = self.classes.rows(dots.classes, entry.instances)
            size_um = entry.mpp * np.array(shape[:2])
            predicted = typed_nuclei(labels, maps, size_um, len(self.classes.predicted))
            types = count_dots((dots.places + 0.5) * entry.mpp, rows, predicted, self.classes)
        nuclei = compare_dots(labels.image(), dots.places, shape)
        return FieldScore(self._name(entry), entry.group, nuclei, types=types)

    def _by_instances(self, entry: FieldEntry, shape: tuple[int, ...], maps: Pixels, labels: Labels) -> FieldScore:
        """Score a field whose truth is an instance map, where its ignore map lets nuclei and pixels count."""
        truth = _read_truth(entry, shape[:2])
        codes = read_ignore(entry, truth.shape)
        outside, unsure = codes == OUTSIDE_FIELD, codes != COUNTED
        ignored = outside if self.count_boxes else unsure
        found, probability = to_grid(labels.image(), truth.shape), to_grid(maps[0], truth.shape)
        inside = counted_part(found, outside)
        true, counted = counted_part(truth, ignored), inside if self.count_boxes else counted_part(found, ignored)
        types = None
        if self.classes and entry.classes:
            values = classes_of_nuclei(truth, read_class_map(entry, truth.shape))
            rows = self.classes.rows(values, entry.classes)[np.isin(np.unique(truth[truth > 0]), true)]
            size_um = entry.mpp * np.array(shape[:2])
            predicted = typed_nuclei(labels, maps, size_um, len(self.classes.predicted))
            predicted = predicted.take(np.isin(predicted.labels, counted))
            types = count_overlaps(rows, predicted, matched_pairs(true, counted), self.classes)
        return FieldScore(
            self._name(entry),
            entry.group,
            compare(true, counted),
            # A box beside an outline is no reason to cut what was predicted on the outline.
            compare_outlines(counted_part(truth, unsure), inside),
            Confusion.of(truth > 0, probability >= _HALF, ~ignored),
            types,
        )

    def _name(self, entry: FieldEntry) -> str:
        return entry.image.relative_to(self.folder).as_posix()


def _read_truth(entry: FieldEntry, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    truth = read_labels(entry.instances)
    if truth.shape != shape:
        raise SettingsError("E-DATA", "image and instance map differ in size", where=entry.image)
    return truth


def to_grid(pixels: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Bring labels or a map to the grid of another resolution of the same field, by the nearest pixel's centre."""
    rows, columns = (
        ((np.arange(wanted) + 0.5) * have / wanted).astype(np.intp)
        for have, wanted in zip(pixels.shape, shape, strict=True)
    )
    return pixels[np.ix_(rows, columns)]
