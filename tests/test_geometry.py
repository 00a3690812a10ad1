"""Boxes and frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.geometry import Box, Frame

boxes = st.builds(Box, st.integers(-50, 50), st.integers(-50, 50), st.integers(0, 60), st.integers(0, 60))
frames = st.builds(
    Frame.over,
    st.builds(Box, st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 100_000), st.integers(1, 100_000)),
    st.floats(0.2, 64),
)


@given(boxes, boxes)
def test_an_intersection_holds_the_pixels_of_both(one, other):
    drawn = np.zeros((200, 200), int)
    for box in (one, other):
        drawn[box.moved(60, 60).slices] += 1
    common = one.intersection(other)
    assert common == other.intersection(one) or common.empty
    assert common.width * common.height == (drawn == 2).sum()


@given(boxes, st.integers(0, 30))
def test_growing_adds_pixels_on_every_side(box, margin):
    grown = box.grown(margin)
    assert (grown.x, grown.right, grown.shape[0]) == (box.x - margin, box.right + margin, box.height + 2 * margin)
    assert grown.intersection(box) == box


@pytest.mark.parametrize("make", [lambda: Box(0, 0, -1, 5), lambda: Frame(0, 5), lambda: Frame(5, 5, 0.0)])
def test_nonsense_cannot_be_built(make):
    with pytest.raises(ValueError, match="cannot be"):
        make()


@given(frames, st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), min_size=1, max_size=5))
def test_points_come_back_from_level_0(frame, points):
    there_and_back = frame.from_level0(frame.to_level0(np.array(points)))
    assert np.abs(there_and_back - points).max() < 1e-6


@given(
    st.integers(1, 200_000),
    st.one_of(st.sampled_from([0.5, 1.0, 2.0, 2.0005, 4.00009, 0.25 / 0.499]), st.floats(0.1, 64)),
)
def test_a_frame_covers_its_area_and_less_than_a_pixel_more(length, downsample):
    frame = Frame.over(Box(7, 9, length, length), downsample)
    corner = frame.to_level0(np.array([frame.width, frame.height]))
    beyond = corner - [7 + length, 9 + length]
    assert (beyond >= -1e-5 * downsample).all()
    assert (beyond < downsample + 1e-6).all()
    assert frame.to_level0(np.zeros(2)).tolist() == [7, 9]


def test_rounding_errors_add_no_column():
    assert Frame.over(Box(0, 0, 5120, 5120), 0.1 + 0.2).width == 17067
    assert Frame.over(Box(0, 0, 30, 30), 0.1 * 3).width == 100
