"""Polygons: always valid on the 0.01 px grid, near their label, and inside the slide."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from label_fields import blobs, components, label_images, pixels_of
from scipy import ndimage

from wsiseg.geometry import Box, Frame
from wsiseg.instances.objects import find_objects
from wsiseg.instances.polygons import _mended, make_polygons
from wsiseg.labels import Labels

DOWNSAMPLES = (0.25, 0.5, 1.0, 2.0005, 4.00009, 7.3)


def polygons_of(labels: np.ndarray, frame: Frame, area: Box):
    objects = find_objects(Labels.of(labels), Box(0, 0, labels.shape[1], labels.shape[0]))
    return objects, make_polygons(objects.runs, len(objects), frame, area)


def whole(labels: np.ndarray, downsample: float = 1.0, corner: tuple[int, int] = (0, 0)) -> tuple[Frame, Box]:
    """A frame over the labels, and the level-0 area that holds all of it."""
    height, width = labels.shape
    area = Box(*corner, int(width * downsample) + 1, int(height * downsample) + 1)
    return Frame(width, height, downsample, corner), area


def assert_sound(polygon: shapely.Polygon, area: Box) -> None:
    """What every exporter relies on."""
    assert polygon.geom_type == "Polygon"
    assert polygon.is_valid
    assert polygon.area > 0
    assert not polygon.interiors
    assert polygon.exterior.is_ccw
    points = shapely.get_coordinates(polygon)
    np.testing.assert_array_equal(points, points.round(2))
    assert (points >= (area.x, area.y)).all()
    assert (points <= (area.right, area.bottom)).all()


def overlap(polygon: shapely.Polygon, mask: np.ndarray) -> float:
    """Intersection over union of a polygon with the exact area of some pixels."""
    y, x = np.nonzero(mask)
    pixels = shapely.union_all(shapely.box(x, y, x + 1, y + 1))
    return polygon.intersection(pixels).area / polygon.union(pixels).area


@settings(max_examples=150, deadline=None)
@given(
    labels=label_images(20),
    downsample=st.sampled_from(DOWNSAMPLES),
    corner=st.sampled_from(((0, 0), (37, 90001))),
)
@example(labels=np.ones((1, 1), np.int32), downsample=0.25, corner=(0, 0))
@example(labels=np.ones((2, 1), np.int32), downsample=1.0, corner=(0, 0))
def test_every_label_gets_one_sound_polygon(labels, downsample, corner):
    frame, area = whole(labels, downsample, corner)
    objects, made = polygons_of(labels, frame, area)
    assert len(made.polygon) == len(objects)
    for index, polygon in enumerate(made.polygon):
        assert_sound(polygon, area)
        filled = ndimage.binary_fill_holes(pixels_of(objects.runs, index, labels.shape)).sum()
        size = polygon.area / downsample**2
        # Simplification may change the area by a tenth, rounding by half a grid step along the outline.
        rounding = 0.005 * polygon.length / downsample**2
        assert abs(size - (filled - 0.5)) <= 0.1 * (filled - 0.5) + rounding + 1e-6


def test_polygons_cover_their_pixels():
    labels = blobs(300, 300)
    frame, area = whole(labels)
    objects, made = polygons_of(labels, frame, area)
    worst, ratios = 1.0, []
    for index, polygon in enumerate(made.polygon):
        mask = pixels_of(objects.runs, index, labels.shape)
        if mask.sum() >= 30:
            worst = min(worst, overlap(polygon, mask))
            ratios.append(polygon.area / mask.sum())
    assert len(ratios) > 50
    assert worst >= 0.8
    assert abs(np.mean(ratios) - 1) < 0.02


def test_simplification_leaves_few_vertices():
    labels = blobs(300, 300)
    _, made = polygons_of(labels, *whole(labels))
    assert made.repaired == 0
    assert shapely.get_num_coordinates(made.polygon).mean() < 25


def test_equal_nuclei_have_equal_outlines_wherever_they_lie():
    one = cv2.ellipse(np.zeros((30, 30), np.int32), (15, 14), (11, 7), 30.0, 0, 360, 1, -1)
    labels = components(np.tile(one, (3, 40)))
    objects, made = polygons_of(labels, *whole(labels))
    corners = objects.runs[objects.starts][:, [2, 1]]
    shapes = {str(shapely.get_coordinates(p) - c) for p, c in zip(made.polygon, corners, strict=True)}
    assert len(made.polygon) == 120
    assert len(shapes) == 1


@pytest.mark.parametrize("width", [9.01, 9.3, 9.5, 9.75, 9.99, 10])
def test_polygons_end_where_the_slide_ends(width):
    # The frame's last column reaches beyond the slide by up to a pixel, at 100 level-0 px a pixel.
    labels = np.zeros((10, 10), np.int32)
    labels[2:5, 7:] = 1
    labels[6:9:2, 9] = (2, 3)
    labels[9, 9] = 4
    area = Box(50, 0, round(width * 100), 1000)
    _, made = polygons_of(components(labels), Frame(10, 10, 100, (50.0, 0.0)), area)
    for polygon in made.polygon:
        assert_sound(polygon, area)


def test_what_lies_outside_the_slide_has_an_empty_polygon():
    labels = np.ones((1, 4), np.int32)
    frame = Frame(4, 1, 2.0)
    _, made = polygons_of(labels, frame, Box(0, 0, 0, 2))
    assert shapely.is_empty(made.polygon).tolist() == [True]


@settings(max_examples=60, deadline=None)
@given(labels=label_images(24), seed=st.integers(0, 99))
def test_ragged_edges_beyond_the_slide_are_repaired(labels, seed):
    height, width = labels.shape
    # 0.02 level-0 px a pixel and a slide that ends inside the frame: rounding and the edge break outlines.
    frame, area = Frame(width, height, 0.02), Box(0, 0, 1, 1)
    _, made = polygons_of(labels, frame, area)
    for polygon in made.polygon:
        if not polygon.is_empty:
            assert_sound(polygon, area)


def test_mending_keeps_the_larger_part_of_a_figure_of_eight():
    eight = shapely.Polygon([(0, 0), (300, 300), (300, 0), (0, 300)])
    lopsided = shapely.Polygon([(0, 0), (300, 300), (300, 0), (100, 200), (0, 100)])
    assert _mended(eight).area == 300 * 150 / 2
    mended = _mended(lopsided)
    assert mended.is_valid
    assert mended.exterior.is_ccw
    assert _mended(shapely.Polygon([(0, 0), (5, 5), (0, 0)])).is_empty
