"""Who owns which nucleus: one pass over a whole field and blocks with margins must give the same table."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from label_fields import (
    blobs,
    by_anchor,
    components,
    decode_in_blocks,
    decode_whole,
    drop_long,
    joined,
    label_images,
    maps_of,
    pixels_of,
    planes_of,
    same,
    threshold,
)

from wsiseg.errors import InternalError
from wsiseg.geometry import Box, Frame
from wsiseg.instances import Decoding, decode_block
from wsiseg.labels import Labels
from wsiseg.nuclei import MEASUREMENTS, Nuclei, pixels_from_bytes, places_from_bytes
from wsiseg.stains import STAINS, STEPS_PER_OD


@pytest.mark.parametrize("side", [64, 100, 150])
def test_blocks_with_margins_find_what_one_window_finds(side):
    labels = blobs(300, 280, step=28)
    maps = maps_of(labels)
    frame = Frame(280, 300, 2.0005, (1000.0, 500.0))
    decoding = Decoding(threshold, frame, Box(1000, 500, 561, 601), 0.5)
    drop_long(maps)
    whole = decode_block(planes_of(maps), frame.box, frame.box, decoding)
    blocks = decode_in_blocks(maps, side, decoding)
    assert len(whole.nuclei) > 40
    assert whole.oversized == sum(block.oversized for block in blocks) == 0
    same(by_anchor(whole.nuclei), by_anchor(joined(block.nuclei for block in blocks)))


def test_nuclei_are_numbered_by_anchor_whatever_the_labels():
    labels = blobs(120, 120)
    one = decode_whole(labels).nuclei
    other = decode_whole(components(labels, seed=5)).nuclei
    assert one.to_bytes() == other.to_bytes()
    assert one.id.tolist() == list(range(1, len(one) + 1))
    x, y = one.anchor.T
    assert (np.diff(y * 1000 + x) >= 0).all()


def test_an_object_that_the_window_cuts_is_counted_not_halved():
    frame = Frame(100, 40)
    maps = np.zeros((1, 40, 100), np.uint8)
    maps[0, 10:20, 5:70] = 200
    decoding = Decoding(threshold, frame, frame.box, 0.5)
    left, right = decode_in_blocks(maps, 50, decoding, margin=10)
    assert (len(left.nuclei), left.oversized) == (0, 1)
    assert len(right.nuclei) == 0
    # At the frame's own edge nothing is cut: there is no more to see.
    assert decode_block(planes_of(maps), frame.box, frame.box, decoding).oversized == 0


def test_what_lies_beyond_the_slide_is_left_out_and_the_rest_numbered_without_gap():
    labels = np.zeros((10, 10), np.int32)
    labels[1, 9], labels[3:6, 3:6], labels[8, 8:] = 1, 2, 3
    # The slide ends at 8.995 px of the frame, so rounding puts all of the first nucleus on its edge.
    found = decode_whole(labels, Frame(10, 10, 0.5, (0.0, 0.0)), Box(0, 0, 4, 5))
    assert found.outside == 2
    assert found.nuclei.id.tolist() == [1]
    assert found.nuclei.centroid_x.tolist() == [2.25]


def test_probability_is_the_mean_over_the_pixels():
    labels = blobs(80, 90)
    maps = maps_of(labels)
    nuclei = decode_whole(labels).nuclei
    for index in range(len(nuclei)):
        values = [maps[0, y, x0:x1] for i, y, x0, x1 in nuclei.runs if i == index]
        assert nuclei.probability[index] == np.float32(np.concatenate(values).mean() / 255)


def test_stains_are_the_mean_and_deviation_over_the_pixels():
    labels = blobs(80, 90)
    labels[0, 0] = labels.max() + 1  # of one pixel
    labels = components(labels)
    stains = planes_of(maps_of(labels)).stains / STEPS_PER_OD
    nuclei = decode_whole(labels).nuclei
    sizes = []
    for index in range(len(nuclei)):
        inside = pixels_of(nuclei.runs, index, labels.shape)
        sizes.append(inside.sum())
        for stain, plane in zip(STAINS, stains, strict=True):
            mean, std = (getattr(nuclei, f"{stain}_od_{kind}")[index] for kind in ("mean", "std"))
            assert mean == pytest.approx(plane[inside].mean(), rel=1e-6)
            assert std == pytest.approx(plane[inside].std(ddof=1) if sizes[-1] > 1 else 0, rel=1e-6)
    assert min(sizes) == 1


def test_a_block_without_nuclei():
    found = decode_whole(np.zeros((20, 30), np.int32))
    assert len(found.nuclei) == len(found.nuclei.runs) == 0
    assert Nuclei.from_bytes(found.nuclei.to_bytes()).to_bytes() == found.nuclei.to_bytes()


def test_labels_of_another_size_are_a_bug_of_the_head():
    frame = Frame(8, 8)
    decoding = Decoding(lambda maps, area: Labels.of(maps[0, 1:, 1:]), frame, frame.box, 0.5)
    with pytest.raises(ValueError, match="do not cover"):
        decode_block(planes_of(np.zeros((1, 8, 8), np.uint8)), frame.box, frame.box, decoding)


@settings(max_examples=60, deadline=None)
@given(labels=label_images())
def test_tables_survive_their_bytes(labels):
    nuclei = decode_whole(labels).nuclei
    data = nuclei.to_bytes()
    back = Nuclei.from_bytes(data)
    same(back, nuclei)
    assert back.id.tolist() == nuclei.id.tolist()
    assert back.to_bytes() == data
    runs, class_value = pixels_from_bytes(data)
    np.testing.assert_array_equal(runs, nuclei.runs)
    np.testing.assert_array_equal(class_value, nuclei.class_value)
    centroids, class_value = places_from_bytes(data)
    np.testing.assert_array_equal(centroids.T, (nuclei.centroid_x, nuclei.centroid_y))
    np.testing.assert_array_equal(class_value, nuclei.class_value)
    for column in fields(Nuclei):
        assert getattr(back, column.name).dtype == getattr(nuclei, column.name).dtype


@settings(max_examples=40, deadline=None)
@given(first=label_images(), second=label_images(), data=st.data())
def test_tables_join_and_split(first, second, data):
    one, other = decode_whole(first).nuclei, decode_whole(second).nuclei
    both = joined([one, other])
    same(both.take(np.arange(len(one))), one)
    same(both.take(np.arange(len(one), len(both))), other)
    order = data.draw(st.permutations(range(len(both))))
    shuffled = both.take(order)
    assert shuffled.area_um2.tolist() == both.area_um2[order].tolist()
    same(shuffled.take(np.argsort(order)), both)
    assert both.renumbered(7).id.tolist() == list(range(7, 7 + len(both)))


def test_columns_have_one_length():
    nuclei = decode_whole(blobs(50, 50)).nuclei
    columns = {f.name: getattr(nuclei, f.name) for f in fields(Nuclei)}
    with pytest.raises(ValueError, match="different lengths"):
        Nuclei(**(columns | {"solidity": nuclei.solidity[:-1]}))


@pytest.mark.parametrize("column", [*MEASUREMENTS, "centroid_x", "polygon"])
def test_numbers_that_are_not_finite_are_refused(column):
    nuclei = decode_whole(blobs(50, 50)).nuclei
    nuclei.check_finite()
    values = getattr(nuclei, column)
    values[1] = shapely.Polygon() if column == "polygon" else np.nan
    with pytest.raises(InternalError, match=f"{column} of 1 nuclei"):
        nuclei.check_finite()
