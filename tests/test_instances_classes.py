"""What each nucleus is: a look at every pixel, one by one, must tell the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_fields import (
    blobs,
    by_anchor,
    decode_in_blocks,
    drop_long,
    joined,
    label_images,
    maps_of,
    pixels_of,
    planes_of,
    same,
    threshold,
)

from wsiseg.geometry import Box, Frame
from wsiseg.instances import Decoding, decode_block
from wsiseg.labels import Labels
from wsiseg.nuclei import Nuclei
from wsiseg.typemap import CELL_PX


def with_types(maps: np.ndarray, count: int, seed: int = 0, *, sparse: bool = False) -> np.ndarray:
    """Add a core that nobody looks at and random probabilities of so many classes; `sparse` ones are mostly 0."""
    height, width = maps.shape[1:]
    rng = np.random.default_rng(seed)
    cells = -(-height // CELL_PX), -(-width // CELL_PX)
    values = rng.integers(0, 256, (*cells, CELL_PX**2)).astype(np.uint8)
    if sparse:
        values[rng.random(values.shape) < 0.9] = 0
    values[..., count:] = 0
    plane = values.reshape(*cells, CELL_PX, CELL_PX).swapaxes(1, 2).reshape(CELL_PX * cells[0], CELL_PX * cells[1])
    return np.concatenate([maps, np.zeros_like(maps), plane[None, :height, :width]])


def sums_pixel_by_pixel(pixels: np.ndarray, plane: np.ndarray, count: int) -> list[int]:
    """The oracle: each pixel looks up its cell, and the nearest whole one where its own is cut."""
    sums = [0] * count
    last = plane.shape[0] // CELL_PX - 1, plane.shape[1] // CELL_PX - 1
    for y, x in np.argwhere(pixels).tolist():
        row, column = min(y // CELL_PX, last[0]), min(x // CELL_PX, last[1])
        if min(row, column) >= 0:
            for place in range(count):
                r, c = divmod(place, CELL_PX)
                sums[place] += int(plane[CELL_PX * row + r, CELL_PX * column + c])
    return sums


def decode_typed(labels: np.ndarray, maps: np.ndarray, classes: tuple[int, ...]) -> Nuclei:
    frame = Frame(labels.shape[1], labels.shape[0])
    decoding = Decoding(lambda _, area: Labels.of(labels), frame, frame.box, 0.5, classes)
    return decode_block(planes_of(maps), frame.box, frame.box, decoding).nuclei


@settings(max_examples=100, deadline=None)
@given(labels=label_images(), count=st.integers(2, 16), seed=st.integers(0, 99), sparse=st.booleans())
def test_classes_are_those_of_a_look_at_every_pixel(labels, count, seed, sparse):
    values = tuple(range(40, 40 + 3 * count, 3))
    maps = with_types(maps_of(labels), count, seed, sparse=sparse)
    nuclei = decode_typed(labels, maps, values)
    assert nuclei.class_probability.shape == (len(nuclei), count)
    assert nuclei.class_probability.dtype == np.float32
    for index in range(len(nuclei)):
        sums = sums_pixel_by_pixel(pixels_of(nuclei.runs, index, labels.shape), maps[2], count)
        known = sums if any(sums) else [1] * count
        assert nuclei.class_value[index] == values[known.index(max(known))], "the first of the largest"
        expected = [np.float32(float(Fraction(one, sum(known)))) for one in known]
        assert nuclei.class_probability[index].tolist() == expected
        assert nuclei.class_probability[index].sum() == pytest.approx(1, abs=1e-6)
    assert Nuclei.from_bytes(nuclei.to_bytes()).to_bytes() == nuclei.to_bytes()
    same(Nuclei.from_bytes(nuclei.to_bytes()), nuclei)


def test_of_equal_sums_the_first_and_of_none_all_alike():
    labels = np.zeros((8, 12), np.int32)
    labels[1, 1:3], labels[1, 5:7], labels[1, 9:11] = 1, 2, 3
    plane = np.zeros(labels.shape, np.uint8)
    plane[0, 5] = plane[0, 6] = 90  # the second cell: the second and the third class
    plane[0, 10] = 1
    maps = np.stack([maps_of(labels)[0], plane, plane])
    nuclei = decode_typed(labels, maps, (7, 5, 3))
    assert nuclei.class_value.tolist() == [7, 5, 3]
    third = np.float32(1 / 3)
    assert nuclei.class_probability.tolist() == [[third] * 3, [0, 0.5, 0.5], [0, 0, 1]]


@pytest.mark.parametrize("side", [64, 100, 148])
def test_blocks_with_margins_tell_what_one_window_tells(side):
    maps = with_types(maps_of(blobs(302, 283, step=28, seed=3)), 3, seed=1)
    drop_long(maps)
    frame = Frame(283, 302)
    decoding = Decoding(threshold, frame, frame.box, 0.5, (1, 2, 3))
    whole = decode_block(planes_of(maps), frame.box, frame.box, decoding).nuclei
    assert set(whole.class_value.tolist()) == {1, 2, 3}
    assert len(whole) > 40
    same(by_anchor(joined(block.nuclei for block in decode_in_blocks(maps, side, decoding))), by_anchor(whole))


def test_a_block_without_nuclei_still_has_its_classes():
    labels = np.zeros((12, 12), np.int32)
    nuclei = decode_typed(labels, with_types(maps_of(labels), 3), (1, 2, 3))
    assert nuclei.class_probability.shape == (0, 3)
    assert Nuclei.from_bytes(nuclei.to_bytes()).class_probability.shape == (0, 3)


def test_one_class_has_no_probabilities():
    labels = blobs(40, 40)
    frame = Frame(40, 40)
    decoding = Decoding(lambda _, area: Labels.of(labels), frame, frame.box, 0.5, (9,))
    nuclei = decode_block(planes_of(maps_of(labels)), frame.box, frame.box, decoding).nuclei
    assert nuclei.class_probability.shape == (len(nuclei), 0)
    assert set(nuclei.class_value.tolist()) == {9}
    assert b"class_probability" not in nuclei.to_bytes()


def test_a_window_that_begins_inside_a_cell_is_refused():
    labels = blobs(40, 40)
    maps, frame = with_types(maps_of(labels), 3), Frame(90, 90)
    decoding = Decoding(lambda _, area: Labels.of(labels), frame, frame.box, 0.5, (1, 2, 3))
    with pytest.raises(ValueError, match="cell"):
        decode_block(planes_of(maps), Box(2, 0, 40, 40), Box(2, 0, 40, 40), decoding)
