"""Dots in nuclei, one to one: against a loop over the dots, at edges, and files that are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_train_metrics import blobs

from wsiseg.errors import SettingsError
from wsiseg.train.classes import UNKNOWN
from wsiseg.train.dots import compare_dots, labelled_by_dots, read_dots
from wsiseg.train.metrics import Detections


def slow(labels, dots):
    """Take the dots one by one; a nucleus can be taken once."""
    free = set(np.unique(labels)) - {0}
    nuclei, hits = len(free), 0
    for y, x in dots:
        if labels[y, x] in free:
            free.remove(labels[y, x])
            hits += 1
    return Detections(predicted=nuclei, true=len(dots), matched=hits)


@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(0, 30))
def test_against_a_loop(seed, nuclei, count):
    labels = blobs(seed, nuclei)
    dots = np.random.default_rng(seed).integers(0, labels.shape, (count, 2))
    expected = slow(labels, dots)
    assert compare_dots(labels, dots, labels.shape) == expected
    # The same field at twice the resolution; and at half of it, where the image's pixels are the finer ones.
    doubled = labels.repeat(2, 0).repeat(2, 1)
    assert compare_dots(doubled, dots, (*labels.shape, 3)) == expected
    assert compare_dots(labels, 2 * dots + 1, doubled.shape) == expected


def test_two_dots_in_a_nucleus_are_one_hit_and_one_miss():
    labels = np.zeros((10, 10), np.int32)
    labels[2:6, 2:6], labels[8:, 8:] = 7, 2
    found = compare_dots(labels, np.array([[3.0, 3.0], [5.0, 5.0], [6.0, 6.0]]), (10, 10))
    assert found == Detections(predicted=2, true=3, matched=1)
    assert (found.precision, found.recall, found.f1) == (1 / 2, 1 / 3, 2 / 5)


@pytest.mark.parametrize("corner", [(0, 0), (0, 9), (9, 0), (9, 9), (9.9, 9.9)])
@pytest.mark.parametrize("side", [10, 7, 4])
def test_dots_at_the_images_edges_are_in_its_edge_pixels(corner, side):
    labels = np.arange(1, side * side + 1, dtype=np.int32).reshape(side, side)
    assert compare_dots(labels, np.array([corner]), (10, 10)).matched == 1
    nucleus = labels[-1 if corner[0] else 0, -1 if corner[1] else 0]
    assert compare_dots(np.where(labels == nucleus, 1, 0), np.array([corner]), (10, 10)).matched == 1


def test_a_dot_stands_for_the_centre_of_its_pixel():
    labels = np.zeros((9, 9), np.int32)
    labels[4, 4] = 1
    assert compare_dots(labels, np.array([[1.0, 1.0]]), (3, 3)).matched == 1


def test_nothing_anywhere_is_right():
    found = compare_dots(np.zeros((4, 4), np.int32), np.empty((0, 2)), (4, 4))
    assert found == Detections()
    assert found.f1 == 1


def test_reading(tmp_path):
    path = tmp_path / "dots.txt"
    path.write_text("0 4 1\n\n2.5 3 12\n1 1\n", "utf-8")
    dots = read_dots(path, (3, 5, 3))
    assert dots.places.tolist() == [[0, 4], [2.5, 3], [1, 1]]
    assert dots.classes.tolist() == [1, 12, UNKNOWN]
    path.write_text("", "utf-8")
    assert read_dots(path, (3, 5, 3)).places.shape == (0, 2)


@pytest.mark.parametrize(
    "row",
    ["4", "a b 1", "0;4;1", "nan 1 1", "1 1 stromal", "1 1 -1", "1 1 256", "1 1 1.5", "3 0 1", "0 5 1", "-1 0 1"],
)
def test_rows_that_are_no_dots_of_the_image_are_refused(tmp_path, row):
    path = tmp_path / "dots.txt"
    path.write_text(f"0 4 1\n{row}\n", "utf-8")
    with pytest.raises(SettingsError, match=r"E-DATA.*y x class.*dots\.txt"):
        read_dots(path, (3, 5, 3))


@pytest.mark.parametrize(
    ("header", "by_dots"),
    [
        ("image,labels,group", True),
        ("image,instances,group", False),
        ("image,instances,labels", False),
        ("", False),
    ],
)
def test_the_column_says_what_the_truth_is(tmp_path, header, by_dots):
    assert not labelled_by_dots(tmp_path)
    (tmp_path / "index.csv").write_text(header + "\n", "utf-8")
    assert labelled_by_dots(tmp_path) is by_dots
