"""Measurements against scikit-image's regionprops and against shapes with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from label_fields import blobs, label_images
from skimage.measure import regionprops

from wsiseg.geometry import Box
from wsiseg.instances.measure import measure_pixels, measure_polygons
from wsiseg.instances.objects import find_objects
from wsiseg.labels import Labels

UM = 0.25


def measured(labels: np.ndarray, corner: tuple[int, int] = (0, 0)) -> dict[str, np.ndarray]:
    objects = find_objects(Labels.of(labels), Box(*corner, labels.shape[1], labels.shape[0]))
    return measure_pixels(objects.runs, objects.starts, UM)


def assert_like_regionprops(labels: np.ndarray) -> None:
    found = measured(labels)
    for index, region in enumerate(regionprops(labels)):
        y, x = region.centroid
        # Its moments are of points; a square pixel adds 1/12 px^2 to both.
        large, small = (value + 1 / 12 for value in region.inertia_tensor_eigvals)
        expected = {
            "mean_x": x + 0.5,
            "mean_y": y + 0.5,
            "area_um2": region.area * UM**2,
            "equivalent_diameter_um": region.equivalent_diameter_area * UM,
            "major_axis_um": 4 * np.sqrt(large) * UM,
            "minor_axis_um": 4 * np.sqrt(small) * UM,
        }
        for name, value in expected.items():
            assert found[name][index] == pytest.approx(value, abs=1e-6), name
        assert found["eccentricity"][index] ** 2 == pytest.approx(1 - small / large, abs=1e-6)
        if large > small * 1.001:
            # Its angle is from the row axis, ours from the x axis; an axis has no direction.
            turned = 90 - np.degrees(region.orientation) - found["orientation_deg"][index]
            assert abs((turned + 90) % 180 - 90) < 1e-3


@settings(max_examples=80, deadline=None)
@given(labels=label_images())
def test_small_ugly_objects(labels):
    if labels.any():
        assert_like_regionprops(labels)


def test_a_field_of_blobs():
    assert_like_regionprops(blobs(200, 200))


def test_measurements_do_not_change_with_the_window():
    labels = blobs(120, 120)
    here, there = measured(labels), measured(labels, (81920, 40960))
    for name in here:
        if name not in ("mean_x", "mean_y"):
            np.testing.assert_array_equal(here[name], there[name])
    assert np.abs(there["mean_x"] - 81920 - here["mean_x"]).max() < 1e-9


@pytest.mark.parametrize(
    ("pixels", "degrees"),
    [
        ([(0, 0), (1, 0), (2, 0)], 0),
        ([(0, 0), (0, 1), (0, 2)], 90),
        ([(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)], 45),
    ],
)
def test_orientation_is_clockwise_from_the_x_axis(pixels, degrees):
    labels = np.zeros((4, 4), np.int32)
    for x, y in pixels:
        labels[y, x] = 1
    assert measured(labels)["orientation_deg"][0] == pytest.approx(degrees)


def test_polygon_measures_of_known_shapes():
    disc = shapely.Point(50, 50).buffer(10, quad_segs=64)
    square = shapely.box(0, 0, 10, 10)
    # A square with a quarter bitten out of it: its hull lacks half of the bite.
    bitten = shapely.Polygon([(0, 0), (10, 0), (10, 5), (5, 5), (5, 10), (0, 10)])
    found = measure_polygons(np.array([disc, square, bitten], object), UM)
    np.testing.assert_allclose(found["perimeter_um"], [2 * np.pi * 10 * UM, 40 * UM, 40 * UM], rtol=1e-3)
    np.testing.assert_allclose(found["circularity"], [1, np.pi / 4, 0.75 * np.pi / 4], rtol=1e-3)
    np.testing.assert_allclose(found["solidity"], [1, 1, 75 / 87.5])
