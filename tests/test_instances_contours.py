"""Outlines against scikit-image's marching squares and against filling the holes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from label_fields import blobs, components, label_images, pixels_of
from scipy import ndimage
from skimage.measure import find_contours

from wsiseg.geometry import Box
from wsiseg.instances.contours import trace_outlines
from wsiseg.instances.objects import find_objects
from wsiseg.labels import Labels

PINCHES = np.array([[1, 1, 1, 0, 1], [1, 0, 1, 1, 1], [1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 1, 0, 0, 1]], np.int32)


def outlined(labels: np.ndarray, corner: tuple[int, int] = (0, 0)):
    height, width = labels.shape
    objects = find_objects(Labels.of(labels), Box(*corner, width, height))
    return objects, trace_outlines(objects.runs, len(objects))


def pixel_ring(outlines, index: int) -> shapely.Polygon:
    """The outline along the pixels' sides: both ends of each upright edge, in walking order."""
    part = slice(outlines.offsets[index], outlines.offsets[index + 1])
    x, y, down = outlines.x[part], outlines.y[part], outlines.down[part]
    ends = [np.stack((x, np.where(down, y, y + 1)), 1), np.stack((x, np.where(down, y + 1, y)), 1)]
    return shapely.Polygon(np.stack(ends, axis=1).reshape(-1, 2))


def painted(ring: shapely.Polygon, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre a polygon holds."""
    y, x = np.indices(shape) + 0.5
    return shapely.contains_xy(ring, x, y)


def marching_squares(mask: np.ndarray) -> shapely.Polygon:
    """scikit-image's outer contour of a mask, where corners that touch are joined, in our coordinates."""
    rings = find_contours(np.pad(mask, 1).astype(float), 0.5, fully_connected="high")
    # Its (row, column) are of pixel centres, and one pixel was padded.
    polygons = [shapely.Polygon(ring[:, ::-1] - 0.5) for ring in rings]
    return max(polygons, key=lambda polygon: polygon.area)


@settings(max_examples=150, deadline=None)
@given(labels=label_images())
@example(labels=components(PINCHES))
@example(labels=np.ones((1, 1), np.int32))
@example(labels=np.ones((1, 2), np.int32))
@example(labels=np.zeros((3, 3), np.int32))
def test_pixel_rings_rasterise_back_to_their_label_with_holes_filled(labels):
    objects, outlines = outlined(labels)
    assert len(objects) == labels.max()
    for index in range(len(objects)):
        filled = ndimage.binary_fill_holes(pixels_of(objects.runs, index, labels.shape))
        ring = pixel_ring(outlines, index)
        assert ring.is_valid
        assert ring.exterior.is_ccw
        assert ring.area == filled.sum()
        np.testing.assert_array_equal(painted(ring, labels.shape), filled)


@settings(max_examples=100, deadline=None)
@given(labels=label_images())
@example(labels=components(PINCHES))
def test_midpoints_are_marching_squares(labels):
    objects, outlines = outlined(labels)
    points, nucleus = outlines.midpoints()
    for index in range(len(objects)):
        mask = pixels_of(objects.runs, index, labels.shape)
        ring = shapely.Polygon(points[nucleus == index] / 2)
        assert ring.is_valid
        assert ring.equals(marching_squares(mask))
        assert ring.area == ndimage.binary_fill_holes(mask).sum() - 0.5
        steps = np.diff(points[nucleus == index], axis=0, append=points[nucleus == index][:1])
        before = np.roll(steps, 1, axis=0)
        assert (before[:, 0] * steps[:, 1] != before[:, 1] * steps[:, 0]).all()  # it turns at each of its points


def test_a_field_of_blobs_is_traced_like_each_blob_alone():
    labels = blobs(200, 260)
    objects, outlines = outlined(labels)
    points, nucleus = outlines.midpoints()
    for index in range(len(objects)):
        ring = shapely.Polygon(points[nucleus == index] / 2)
        assert ring.equals(marching_squares(pixels_of(objects.runs, index, labels.shape)))


@pytest.mark.parametrize("corner", [(1, 0), (0, 1), (40960, 81920)])
def test_outlines_move_with_the_window(corner):
    labels = blobs(60, 80)
    points, nucleus = outlined(labels)[1].midpoints()
    moved, same = outlined(labels, corner)[1].midpoints()
    np.testing.assert_array_equal(moved, points + 2 * np.array(corner))
    np.testing.assert_array_equal(same, nucleus)


def test_a_long_thin_snake_is_one_ring():
    snake = np.zeros((81, 60), np.int32)
    snake[::2] = 1
    snake[1::4, -1] = 1
    snake[3::4, 0] = 1
    objects, outlines = outlined(snake)
    assert len(objects) == 1
    assert pixel_ring(outlines, 0).area == snake.sum()


def test_no_nuclei_have_no_outlines():
    outlines = trace_outlines(np.empty((0, 4), np.int32), 0)
    points, nucleus = outlines.midpoints()
    assert len(points) == len(nucleus) == 0
    assert outlines.offsets.tolist() == [0]
