"""The decoding against its slow, obvious version: one component, one pixel and one step at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from head_contract import smooth_noise
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiseg.geometry import Box
from wsiseg.models.heads.components import Components, Foreground, Runs, Sizes
from wsiseg.models.heads.growth import Growth, _heights, gaussian_kernel
from wsiseg.models.heads.hills import Hills
from wsiseg.models.heads.seeds import SeedRule, find_seeds

NARROW = {
    "seed_extent_px": 20, "climb_doublings": 2, "spread_px": 3, "max_extent_px": 60, "min_area_um2": 0.5,
    "seed_area_um2": 0.2,
}  # fmt: skip
"""Limits so narrow that components of every kind exceed them."""


def parts(mask):
    """The 4-connected components, as masks."""
    labels, count = ndimage.label(mask)
    return [labels == number for number in range(1, count + 1)]


def extent(mask):
    """The longer side of the bounding box."""
    return int(max(np.ptp(places) + 1 for places in np.nonzero(mask)))


class Obvious:
    """The rules of `wsiseg.models.heads.growth`, word by word."""

    def __init__(self, values):
        growth = Growth(values, 0.25)
        self.settings, self.rule = growth.settings, growth._seeds
        self.threshold, self.min_area_px = growth._threshold, growth._min_area_px

    def labels(self, probability, core):
        mask = probability >= self.threshold
        kernel = 2 * self.settings.blur_radius_px + 1
        smooth = cv2.GaussianBlur(core.astype(np.uint16) * np.uint16(128), (kernel, kernel), 0)
        self.heights = np.where(mask, smooth + 1, 0).astype(int)
        labels = np.zeros(mask.shape, int)
        for number, seed in enumerate(self.seeds_in(mask, 0), 1):
            labels[seed] = number
        labels = self.spread(self.climbed(labels), mask)
        fits = [part for part in parts(mask & (labels == 0)) if self.is_nucleus(part)]
        for number, part in enumerate(fits, labels.max() + 1):
            labels[part] = number
        for number in np.unique(labels):
            if not self.is_nucleus(labels == number):
                labels[labels == number] = 0
        return labels

    def is_nucleus(self, part):
        return part.sum() >= self.min_area_px and extent(part) <= self.settings.max_extent_px

    def seeds_in(self, inside, level):
        """The seeds of the components at a level that lie inside of something."""
        return [seed for part in self.cut(inside, level) for seed in self.seeds_of(part, level)]

    def cut(self, inside, level):
        return parts(inside & (self.heights >= self.rule.levels[level])) if level < len(self.rule.levels) else []

    def seeds_of(self, part, level):
        above = self.seeds_in(part, level + 1)
        whole = part.sum() >= self.rule.min_area_px and extent(part) <= self.rule.max_extent_px
        if len(above) >= 2 or not whole:
            return above
        high = self.heights[part].max() >= self.rule.levels[level] + self.rule.prominence
        # It takes the place of the one that may lie in it; where it is no seed itself, that is none either.
        return [part] if high or level == 0 else []

    def neighbours(self, y, x):
        """Those inside the image, in the order that decides between equals."""
        height, width = self.heights.shape
        found = ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x))
        return [(i, j) for i, j in found if 0 <= i < height and 0 <= j < width]

    def climbed(self, seeds):
        labels = seeds.copy()
        for start in zip(*np.nonzero((self.heights > 0) & (seeds == 0)), strict=True):
            here = start
            for _ in range(2**self.settings.climb_doublings):
                there = max(self.neighbours(*here), key=lambda place: self.heights[place], default=here)
                if seeds[here] or self.heights[there] <= self.heights[here]:
                    break
                here = there
            labels[start] = seeds[here]
        return labels

    def spread(self, labels, mask):
        for _ in range(self.settings.spread_px):
            grown = labels.copy()
            for place in zip(*np.nonzero(mask & (labels == 0)), strict=True):
                labelled = [one for one in self.neighbours(*place) if labels[one]]
                if labelled:
                    grown[place] = labels[max(labelled, key=lambda one: self.heights[one])]
            labels = grown
        return labels


def same_parts(one, other):
    """Whether two label images differ in their numbers only."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    one_to_one = len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    return one_to_one and ((one > 0) == (other > 0)).all()


@pytest.mark.parametrize("values", [{}, NARROW, NARROW | {"blur_radius_px": 0, "min_area_um2": 0}])
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale_px=st.sampled_from([1, 2, 4, 8]),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
)
def test_decoding_is_what_its_rules_say(values, seed, scale_px, width, height):
    core = smooth_noise(seed, (96, 96), scale_px)[:height, :width]
    probability = np.maximum(smooth_noise(seed + 1, (96, 96), 2 * scale_px)[:height, :width], core)
    found = Growth(values, 0.25).labels(probability, core).image()
    assert found.shape == (height, width)
    assert same_parts(found, Obvious(values).labels(probability, core))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.3, 0.6, 0.7, 0.95, 1.0]), side=st.integers(1, 300)
)
def test_components_and_sizes_are_scipys(seed, share, side):
    mask = np.random.default_rng(seed).random((side, 30)) < share
    foreground = Foreground.of(mask, 1)
    inside = foreground.inside
    components = Components.of(foreground.inside, foreground)
    image = foreground.labels(components.runs).image()
    assert same_parts(image, ndimage.label(mask)[0])
    places = np.flatnonzero(inside)
    np.testing.assert_array_equal(components.at(places), image[mask])
    sizes = Sizes.of(components.runs, foreground)
    for number in range(1, len(components) + 1):
        assert sizes.area_px[number] == (image == number).sum()
        assert sizes.extent_px[number] == extent(image == number)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0]), x=st.integers(-9, 30),
    y=st.integers(-9, 70),
)  # fmt: skip
def test_only_components_beside_the_area_are_left_out(seed, share, x, y):
    mask = np.random.default_rng(seed).random((70, 30)) < share
    area = Box(x, y, 9, 12)
    kept = np.zeros_like(mask)
    for part in parts(mask):
        rows, columns = (np.flatnonzero(part.any(axis)) for axis in (1, 0))
        around = Box(columns[0], rows[0], int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
        kept |= part & (not around.intersection(area).empty)
    found, expected = Foreground.of(mask, 1, area), Foreground.of(kept, 1)
    np.testing.assert_array_equal(found.flat, expected.flat)
    np.testing.assert_array_equal(found.inside, expected.inside)
    for one, other in zip(found.above_and_below(), expected.above_and_below(), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), side=st.integers(1, 60), steps=st.sampled_from([2, 5, 300]))
def test_a_summit_has_no_higher_neighbour(seed, side, steps):
    core = np.random.default_rng(seed).integers(0, steps, (side, 30))
    foreground = Foreground.of(core, 1)
    heights = np.zeros(len(foreground.flat), np.uint16)
    heights[foreground.inside] = core[core > 0]
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    highest = (core > 0) & (core == ndimage.maximum_filter(core, footprint=cross, mode="constant"))
    np.testing.assert_array_equal(Hills(foreground, heights).summits()[foreground.inside], highest[core > 0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0]), side=st.integers(1, 200))
def test_the_list_holds_the_mask_and_its_neighbours(seed, share, side):
    mask = np.random.default_rng(seed).random((side, 30)) < share
    foreground = Foreground.of(mask, 1)
    framed = np.pad(mask, 1).ravel()
    width = foreground.shape[1]
    np.testing.assert_array_equal(foreground.flat[foreground.inside], np.flatnonzero(framed))
    assert foreground.flat[0] == 0
    assert not framed[foreground.flat[~foreground.inside]].any()
    places = np.flatnonzero(foreground.inside)
    for step, neighbours in zip((-width, width), foreground.above_and_below(), strict=True):
        expected = foreground.flat[places] + step
        known = np.where(framed[expected], expected, foreground.flat[places])
        np.testing.assert_array_equal(foreground.flat[neighbours[places]], known)


@pytest.mark.parametrize("radius_px", [0, 1, 2, 3, 4, 15])
def test_smoothing_is_opencvs_in_whole_numbers(radius_px):
    core = np.random.default_rng(radius_px).integers(0, 256, (130, 97), np.uint8)
    side = 2 * radius_px + 1
    smooth = cv2.GaussianBlur(core.astype(np.uint16) * np.uint16(128), (side, side), 0)
    foreground = Foreground.of(core, 0)
    found = _heights(core, foreground, radius_px)
    assert (found[~foreground.inside] == 0).all()
    difference = found[foreground.inside].reshape(core.shape).astype(int) - 1 - smooth
    assert np.abs(difference).max() <= (0 if radius_px <= 3 else 0.06 * 255 * 128)


@pytest.mark.parametrize("radius_px", range(16))
def test_the_kernel_is_a_gaussian_in_whole_parts(radius_px):
    kernel = gaussian_kernel(radius_px)
    assert kernel.sum() == 64
    np.testing.assert_array_equal(kernel, kernel[::-1])
    np.testing.assert_array_equal(kernel, np.rint(kernel))
    beside = np.arange(len(kernel)) != radius_px
    exact = cv2.getGaussianKernel(len(kernel), 0).ravel() * 64
    assert np.abs(kernel - exact)[beside].max(initial=0) <= 0.5


@pytest.mark.parametrize(
    ("peak", "saddle", "count"),
    [(25, 19, 2), (25, 20, 1), (24, 19, 1)],
    ids=["parted below a level", "joined at a level", "not prominent enough"],
)
@pytest.mark.parametrize("upright", [False, True])
def test_a_level_is_reached_by_what_is_as_high(peak, saddle, count, upright):
    core = np.array([[30, 30, saddle, peak, peak]] * 2)
    core = core.T.copy() if upright else core
    foreground = Foreground.of(core, 1)
    heights = np.zeros(len(foreground.flat), int)
    heights[foreground.inside] = core.ravel()
    rule = SeedRule(levels=(10, 20), prominence=5, min_area_px=1, max_extent_px=80)
    assert find_seeds(Hills(foreground, heights), rule).max() == count


@pytest.mark.parametrize("turn", range(4))
def test_a_spiral_is_one_component(turn):
    mask = np.zeros((101, 101), bool)
    box = Box(0, 0, 101, 101)
    for step in range(25):
        inner = box.grown(-2 * step)
        mask[inner.slices] = True
        mask[inner.grown(-1).slices] = False
        mask[inner.y + 1, inner.x] = False
        mask[inner.y + 2, inner.x + 1] = True
    mask = np.rot90(mask, turn).copy()
    foreground = Foreground.of(mask, 1)
    found = Components.of(foreground.inside, foreground)
    assert len(found) == ndimage.label(mask)[1]


def test_runs_of_labels_end_where_the_label_changes():
    runs = Runs.of(np.array([0, 2, 2, 1, 0, 1, 0], np.int32))
    assert runs.start.tolist() == [1, 3, 5]
    assert runs.stop.tolist() == [3, 4, 6]
    assert runs.label.tolist() == [2, 1, 1]
    assert runs.listed(7).tolist() == [0, 2, 2, 1, 0, 1, 0]
    assert runs.renamed(np.array([0, 0, 5], np.int32)).listed(7).tolist() == [0, 5, 5, 0, 0, 0, 0]
