"""What nuclei are taken for: against slow counts over all pairings, unknown classes, and probabilities."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_train_matching import every_pairing
from test_train_metrics import blobs

from wsiseg.errors import SettingsError
from wsiseg.labels import Labels
from wsiseg.train.classes import TrueClasses
from wsiseg.train.types import BINS, REACH_UM, TypedNuclei, count_dots, count_overlaps, typed_nuclei

SAME = TrueClasses((1, 2, 3), ("a", "b", "c"), ("a", "b", "c"))
OTHER = TrueClasses((7, 3, 5), ("c", "x", "a"), ("a", "b", "c"))
"""Another order, one class that the bundle lacks, and none of the bundle's b."""


def nuclei(places_um, classes, probability=None):
    count = len(classes)
    return TypedNuclei(
        np.arange(1, count + 1, dtype=np.int32),
        np.array(places_um, float).reshape(-1, 2),
        np.array(classes, np.intp),
        np.full(count, 0.75) if probability is None else np.array(probability, float),
    )


# Names


def test_classes_are_the_same_where_their_names_are(tmp_path):
    bundle = [SimpleNamespace(value=value, name=name) for value, name in ((1, "a"), (2, "b"), (3, "c"))]
    assert TrueClasses.of(tmp_path, bundle) == SAME
    (tmp_path / "classes.csv").write_text("value,name\n7,c\n3,x\n5,a\n", "utf-8")
    found = TrueClasses.of(tmp_path, bundle)
    assert found == OTHER
    rows = found.rows(np.array([5, 0, 3, 7], np.uint8), tmp_path)
    assert rows.tolist() == [2, -1, 1, 0]
    assert found.expected(rows).tolist() == [0, -1, -1, 2]


def test_values_without_a_class_are_refused():
    with pytest.raises(SettingsError, match=r"E-DATA.*value 2, 9.*dots\.txt"):
        OTHER.rows(np.array([9, 5, 2, 9], np.uint8), Path("dots.txt"))


# Prediction


@given(st.integers(0, 10_000), st.integers(0, 8))
def test_a_nucleus_is_where_and_what_its_pixels_are(seed, count):
    image = blobs(seed, count)[:28]
    random = np.random.default_rng(seed)
    cells = random.integers(0, 256, (7, 10, 3))
    plane = np.zeros(image.shape, np.uint8)
    for place in range(3):
        plane[place // 4 :: 4, place % 4 :: 4] = cells[..., place]
    maps = np.stack([np.zeros_like(plane), np.zeros_like(plane), plane])
    found = typed_nuclei(Labels.of(image), maps, np.array([14.0, 40.0]), 3)
    values = cells.repeat(4, 0).repeat(4, 1)
    assert found.labels.tolist() == sorted(set(image.ravel().tolist()) - {0})
    for i, name in enumerate(found.labels):
        y, x = np.nonzero(image == name)
        sums = values[image == name].sum(0)
        assert found.centroid_um[i] == pytest.approx([(y.mean() + 0.5) / 2, x.mean() + 0.5])
        assert found.classes[i] == sums.argmax()
        assert found.probability[i] == pytest.approx(sums.max() / sums.sum())


def test_an_empty_field_has_none():
    found = typed_nuclei(Labels.of(np.zeros((8, 8), np.int32)), np.zeros((3, 8, 8), np.uint8), np.ones(2), 3)
    assert len(found) == 0
    counts = count_dots(np.empty((0, 2)), np.empty(0, np.intp), found, SAME)
    assert not any(part.any() for part in (counts.detections, counts.confusion, counts.calibration))


# Counts


def most(ones, others):
    return max(size for size, _ in every_pairing(ones, others, REACH_UM))


@given(st.data(), st.sampled_from([SAME, OTHER]))
def test_each_class_is_matched_by_itself(data, classes):
    kinds = st.integers(0, 2)
    place = st.tuples(st.floats(0, 8), st.floats(0, 8))
    dots = data.draw(st.lists(st.tuples(place, kinds), max_size=4))
    found = data.draw(st.lists(st.tuples(place, kinds), max_size=5))
    dots_um = np.array([place for place, _ in dots]).reshape(-1, 2)
    rows = np.array([kind for _, kind in dots], np.intp)
    predicted = nuclei([place for place, _ in found], [kind for _, kind in found])
    counts = count_dots(dots_um, rows, predicted, classes)
    for column, name in enumerate(classes.predicted):
        of_dots = np.array([classes.names[row] == name for row in rows], bool)
        of_found = predicted.classes == column
        expected = of_found.sum(), of_dots.sum(), most(dots_um[of_dots], predicted.centroid_um[of_found])
        assert tuple(counts.detections[column]) == expected
    assert tuple(counts.detections[-1]) == (len(found), len(dots), most(dots_um, predicted.centroid_um))
    assert counts.confusion.sum(axis=1)[:-1].tolist() == np.bincount(rows, minlength=3).tolist()
    assert counts.confusion.sum(axis=0)[:-1].tolist() == np.bincount(predicted.classes, minlength=3).tolist()
    assert counts.confusion[-1, -1] == 0
    assert counts.confusion[:-1, :-1].sum() == counts.detections[-1, 2]


def test_a_confusion_that_can_be_counted_by_hand():
    """Right; wrong; missed; invented; and a neighbour of another class that is nearer than the right one."""
    dots = np.array([[0.0, 0], [0, 20], [0, 40], [20, 0]])
    predicted = nuclei([[0, 1], [1, 20], [40, 40], [20, 1], [20, 2]], [0, 1, 2, 1, 0])
    counts = count_dots(dots, np.array([0, 2, 1, 0]), predicted, SAME)
    assert counts.confusion.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0]]
    # By itself the class of the last dot finds its own.
    assert counts.detections.tolist() == [[2, 2, 2], [2, 1, 0], [1, 1, 0], [5, 4, 3]]


def test_what_is_paired_with_an_unknown_nucleus_is_left_out():
    dots, rows = np.array([[0.0, 0], [0, 20]]), np.array([-1, 0])
    predicted = nuclei([[0, 1], [0, 21], [0, 2]], [0, 0, 0])
    counts = count_dots(dots, rows, predicted, SAME)
    # The second nucleus beside the unknown one is still too many.
    assert counts.detections.tolist() == [[2, 1, 1], [0, 0, 0], [0, 0, 0], [2, 1, 1]]
    assert counts.calibration[:, 0].sum() == 1
    overlaps = count_overlaps(rows, predicted, np.array([[0, 0], [1, 1]]), SAME)
    assert (overlaps.detections == counts.detections).all()
    assert (overlaps.confusion == counts.confusion).all()


def test_a_class_that_the_bundle_lacks_is_in_the_confusion_only():
    predicted = nuclei([[0, 0], [0, 20]], [0, 1])
    counts = count_overlaps(np.array([1, 2]), predicted, np.array([[0, 1], [1, 0]]), OTHER)
    assert counts.confusion.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert counts.detections.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0], [2, 2, 2]]
    assert counts.calibration[:, 0].sum() == 1


def test_probabilities_fall_into_ten_bins():
    probability = [0.05, 0.1, 0.55, 0.59, 0.999, 1.0]
    predicted = nuclei([[0, 20 * i] for i in range(6)], [0, 0, 0, 1, 0, 0], probability)
    dots = np.array([[0.0, 20 * i] for i in range(5)])  # the last nucleus has no dot
    counts = count_dots(dots, np.zeros(5, np.intp), predicted, SAME)
    expected = np.zeros((BINS, 3))
    expected[0] = 1, 1, 0.05
    expected[1] = 1, 1, 0.1
    expected[5] = 2, 1, 1.14
    expected[9] = 1, 1, 0.999
    assert counts.calibration == pytest.approx(expected)
