"""What each nucleus of a field is taken for, against what it is: counts that add up over fields.

Nuclei of truth and prediction are paired whatever their class, which gives the confusion. Where the truth is
dots, F1 is counted as the benchmark of BRCA-M2C does (Abousamra et al. 2021, MCSpatNet, evaluation of
localisation): each class is matched by itself, so that a nucleus counts only if it is found and named; but one to
one by an optimal pairing, where the published script takes the dots in turn. What is paired with a nucleus of
unknown class is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.geometry import Box
from wsiseg.instances.classes import measure_classes
from wsiseg.instances.measure import measure_pixels
from wsiseg.instances.objects import find_objects
from wsiseg.instances.planes import Planes
from wsiseg.train.matching import match_points
from wsiseg.train.sums import Sums

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.labels import Labels
    from wsiseg.train.classes import TrueClasses

    Ints = npt.NDArray[np.intp]
    Points = npt.NDArray[np.float64]

REACH_UM = 3.0
"""How far a nucleus' centroid may lie from its dot; the published script has 6 px of 0.508 um."""
BINS = 10
"""Of the probability, in a table of calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class TypedNuclei:
    """The n nuclei predicted on a field, by their labels."""

    labels: npt.NDArray[np.int32]
    """(n,) numbers in the label image, ascending."""
    centroid_um: Points
    """(n, 2): y and x of the mean pixel, from the field's corner."""
    classes: Ints
    """(n,) places among the bundle's classes."""
    probability: Points
    """(n,): of that class."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: npt.NDArray[np.bool_]) -> TypedNuclei:
        """Give some of them."""
        return TypedNuclei(*(getattr(self, column.name)[chosen] for column in fields(self)))


def typed_nuclei(
    labels: Labels, maps: npt.NDArray[np.uint8], size_um: npt.NDArray[np.float64], count: int
) -> TypedNuclei:
    """Tell what each nucleus is, as a run would.

    Parameters
    ----------
    size_um
        (2,): height and width of the field.
    count
        Number of the bundle's classes.
    """
    height, width = labels.shape
    field = Box(0, 0, width, height)
    objects = find_objects(labels, field)
    if len(objects) == 0:
        return TypedNuclei(np.empty(0, np.int32), np.empty((0, 2)), np.empty(0, np.intp), np.empty(0))
    no_stains = np.zeros((2, height, width), np.uint8)
    classes, shares = measure_classes(objects, Planes(maps, no_stains), field, count)
    pixels = measure_pixels(objects.runs, objects.starts, 1.0)
    centroid = np.stack((pixels["mean_y"], pixels["mean_x"]), axis=1)
    probability = shares.max(axis=1).astype(np.float64)
    return TypedNuclei(np.unique(labels.runs[:, 0]), centroid * size_um / labels.shape, classes, probability)


@dataclass(frozen=True, slots=True, eq=False)
class TypeCounts(Sums):
    """Nuclei of a field, or of many, by what they are and what they are taken for."""

    detections: Ints
    """(c + 1, 3): nuclei predicted, true and matched, of each class of the bundle by itself; last, of all classes
    together, whatever they are taken for."""
    confusion: Ints
    """(t + 1, c + 1): pairs by the truth's class and the bundle's; the last row is what was invented, the last
    column what was missed."""
    calibration: Points
    """(`BINS`, 3) by the probability of what a nucleus was taken for: paired nuclei, those taken for the right
    class, and the sum of their probabilities. Only where the bundle has the true class."""


def count_dots(dots_um: Points, rows: Ints, predicted: TypedNuclei, classes: TrueClasses) -> TypeCounts:
    """Compare predicted nuclei with dots.

    Parameters
    ----------
    dots_um
        (n, 2): y and x.
    rows
        (n,): their classes, as `TrueClasses.rows` gives them.
    """
    pairs = match_points(dots_um, predicted.centroid_um, REACH_UM)
    counted = np.ones(len(predicted), np.bool_)
    counted[pairs[rows[pairs[:, 0]] < 0, 1]] = False
    expected = classes.expected(rows)
    matched = []
    for one in range(len(classes.predicted)):
        centroid_um = predicted.centroid_um[counted & (predicted.classes == one)]
        matched.append(len(match_points(dots_um[expected == one], centroid_um, REACH_UM)))
    return _counts(rows, predicted, pairs, np.array(matched, np.intp), classes)


def count_overlaps(rows: Ints, predicted: TypedNuclei, pairs: Ints, classes: TrueClasses) -> TypeCounts:
    """Compare predicted nuclei with true ones that are paired already: no other pairing within a class has more.

    Parameters
    ----------
    rows
        (n,): the true nuclei's classes, as `TrueClasses.rows` gives them.
    pairs
        (m, 2): places among the true and the predicted nuclei that overlap by more than half.
    """
    taken_for = predicted.classes[pairs[:, 1]]
    right = taken_for[classes.expected(rows)[pairs[:, 0]] == taken_for]
    return _counts(rows, predicted, pairs, np.bincount(right, minlength=len(classes.predicted)), classes)


def _counts(rows: Ints, predicted: TypedNuclei, pairs: Ints, matched: Ints, classes: TrueClasses) -> TypeCounts:
    """Put the counts of a field together from its pairs and the matches within each class."""
    confusion = _confusion(rows, predicted.classes, pairs, (len(classes.names) + 1, len(classes.predicted) + 1))
    expected = classes.expected(rows)
    true = np.bincount(expected[expected >= 0], minlength=len(matched))
    each = np.stack((confusion[:, :-1].sum(axis=0), true, matched), axis=1)
    together = confusion[:, :-1].sum(), confusion[:-1].sum(), confusion[:-1, :-1].sum()
    pairs = pairs[expected[pairs[:, 0]] >= 0]
    right = expected[pairs[:, 0]] == predicted.classes[pairs[:, 1]]
    calibration = _calibration(predicted.probability[pairs[:, 1]], right)
    return TypeCounts(np.vstack((each, together)), confusion, calibration)


def _confusion(rows: Ints, columns: Ints, pairs: Ints, shape: tuple[int, int]) -> Ints:
    """Count pairs, and in the last column and row what has no partner; rows of -1 do not count."""
    true, found = pairs.T
    missed, invented = np.delete(rows, true), np.delete(columns, found)
    row = np.concatenate((rows[true], missed, np.full(len(invented), shape[0] - 1)))
    column = np.concatenate((columns[found], np.full(len(missed), shape[1] - 1), invented))
    counts = np.zeros(shape, np.intp)
    np.add.at(counts, (row[row >= 0], column[row >= 0]), 1)
    return counts


def _calibration(probability: Points, right: npt.NDArray[np.bool_]) -> Points:
    """Give the columns of `TypeCounts.calibration`."""
    bins = np.minimum((probability * BINS).astype(np.intp), BINS - 1)
    columns = [np.bincount(bins, weights, BINS) for weights in (None, right, probability)]
    return np.stack(columns, axis=1).astype(np.float64)
