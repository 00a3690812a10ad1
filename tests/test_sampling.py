"""`read_box` gives each pixel one value, whoever asks for it, and puts it where level 0 has it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from synthetic import ArraySlide, Nucleus, checkerboard, paint_tissue, scattered

from wsiseg.geometry import Box, Frame
from wsiseg.slides import read_box, sampling, thumbnail

SIZE = (700, 500)
PAINTING = paint_tissue(SIZE, scattered(SIZE))
SLIDE = ArraySlide(PAINTING.rgb, downsamples=(1.0, 2.0005, 4.00009))
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def frame_of(slide, downsample):
    return Frame.over(slide.info.area, downsample)


def test_level_0_is_copied():
    box = Box(100, 50, 300, 200)
    assert np.array_equal(read_box(SLIDE, frame_of(SLIDE, 1.0), box), PAINTING.rgb[box.slices])


def test_a_level_with_a_fractional_downsample_is_copied_to_its_own_frame():
    level = SLIDE.info.levels[1]
    box = Box(17, 5, 200, 100)
    SLIDE.reads.clear()
    pixels = read_box(SLIDE, level, box)
    assert SLIDE.reads == [(box, 1)]
    assert np.array_equal(pixels, SLIDE.read_region((0, 0), 1, (level.width, level.height))[box.slices])


def test_whole_downsamples_are_means_of_whole_pixels():
    slide = ArraySlide(PAINTING.rgb)
    pixels = read_box(slide, frame_of(slide, 5.0), Box(0, 0, 140, 100))
    means = PAINTING.rgb.reshape(100, 5, 140, 5, 3).mean((1, 3))
    assert np.abs(pixels - means).max() <= 0.5


@pytest.mark.parametrize(
    ("downsample", "level"),
    [(0.5, 0), (1.0, 0), (1.9, 0), (1.99, 1), (2.0005, 1), (3.9, 1), (4.0, 2), (4.00009, 2), (30.0, 2)],
)
def test_the_coarsest_level_that_is_fine_enough_is_read(downsample, level):
    assert sampling.best_level(SLIDE.info.levels, downsample) == level


def test_levels_may_come_in_any_order():
    assert sampling.best_level((Frame(800, 800), Frame(50, 50, 16.0), Frame(200, 200, 4.0)), 5.0) == 2


@pytest.mark.parametrize("downsample", [0.437, 1.0, 1.002, 1.7, 2.0, 2.0005, 4.0, 4.00009, 9.3])
@pytest.mark.parametrize("corner", ["near", "far"])
def test_edges_lie_where_level_0_has_them(downsample, corner):
    # One dark square on light: its centre of darkness is known to a fraction of a pixel.
    rgb = np.full((3000, 4000, 3), 240, np.uint8)
    x, y = (40, 60) if corner == "near" else (3800, 2850)
    rgb[y : y + 100, x : x + 100] = 30
    slide = ArraySlide(rgb, downsamples=(1.0, 2.0005, 4.00009))
    frame = frame_of(slide, downsample)
    left, top = np.floor(frame.from_level0(np.array([x - 20, y - 20]))).astype(int).tolist()
    side = int(140 / downsample) + 2
    dark = 240.0 - read_box(slide, frame, Box(left, top, side, side))[..., 0]
    rows, columns = np.mgrid[:side, :side] + 0.5
    centre = np.array([(dark * columns).sum() / dark.sum() + left, (dark * rows).sum() / dark.sum() + top])
    assert np.abs(frame.to_level0(centre) - [x + 50, y + 50]).max() < 0.5


def test_a_checkerboard_keeps_its_phase_over_100_000_pixels():
    # Only the far end is in memory: a fake level 1 of downsample 4.00009 over a slide 100,000 px wide.
    cell, downsample, width = 400, 4.00009, 100_000
    level1 = Frame(int(width / downsample), 32, downsample)
    centres = (np.arange(level1.width) + 0.5) * downsample
    stripe = np.where((centres // cell) % 2, np.uint8(40), np.uint8(220))
    slide = ArraySlide(checkerboard((64, 64)))
    slide._levels = [None, np.broadcast_to(stripe[None, :, None], (32, level1.width, 3))]
    slide.info = type(slide.info)(**{**vars(slide.info), "levels": (Frame(width, 128), level1)})
    frame = Frame.over(Box(0, 0, width, 128), 4.0)
    pixels = read_box(slide, frame, Box(frame.width - 400, 0, 400, 8))[4, :, 0].astype(int)
    edges = np.flatnonzero(np.diff(pixels > 130)) + 1 + frame.width - 400
    level0 = frame.to_level0(np.stack([edges, edges], 1))[:, 0]
    assert len(level0) >= 3
    # An edge is found to half a pixel of the frame, which is 2 px of level 0.
    assert np.abs(level0 - np.round(level0 / cell) * cell).max() <= 2.0


@given(
    downsample=st.sampled_from([0.5, 0.73, 1.0, 1.002, 1.5, 2.0, 2.0005, 3.3, 4.0, 4.00009, 7.9]),
    cut_x=st.integers(1, 99),
    cut_y=st.integers(1, 79),
    x=st.integers(-60, 120),
    y=st.integers(-60, 90),
)
@example(downsample=0.5, cut_x=50, cut_y=40, x=-60, y=-60)
@quick
def test_pixels_do_not_depend_on_how_boxes_are_cut(downsample, cut_x, cut_y, x, y):
    frame = frame_of(SLIDE, downsample)
    big = Box(x, y, 100, 80)
    whole = read_box(SLIDE, frame, big).astype(int)
    parts = np.empty_like(whole)
    for part in (
        Box(x, y, cut_x, cut_y),
        Box(x + cut_x, y, 100 - cut_x, cut_y),
        Box(x, y + cut_y, cut_x, 80 - cut_y),
        Box(x + cut_x, y + cut_y, 100 - cut_x, 80 - cut_y),
    ):
        parts[part.moved(-x, -y).slices] = read_box(SLIDE, frame, part)
    copied = downsample in {1.0, 2.0005, 4.00009}
    assert np.abs(whole - parts).max() <= (0 if copied else 1)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    box=st.builds(Box, st.integers(-90, 90), st.integers(-90, 90), st.integers(1, 60), st.integers(1, 60)),
)
@quick
def test_beyond_the_slide_the_inside_is_mirrored(width, height, box):
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    padded = np.pad(rgb, ((160, 160), (160, 160), (0, 0)), "symmetric")
    slide = ArraySlide(rgb)
    assert np.array_equal(read_box(slide, frame_of(slide, 1.0), box), padded[box.moved(160, 160).slices])


@given(width=st.integers(1, 300), height=st.integers(1, 300), downsample=st.floats(0.3, 40))
@quick
def test_odd_and_tiny_slides_are_read_at_any_downsample(width, height, downsample):
    slide = ArraySlide(np.full((height, width, 3), (200, 100, 150), np.uint8))
    frame = frame_of(slide, downsample)
    pixels = read_box(slide, frame, Box(-32, -32, 128, 128))
    assert pixels.shape == (128, 128, 3)
    assert (pixels == (200, 100, 150)).all()


def test_bounds_are_the_origin_of_the_frame():
    slide = ArraySlide(PAINTING.rgb, bounds=Box(101, 53, 400, 300))
    frame = slide.info.frame_at(0.25)
    assert (frame.width, frame.height, frame.origin) == (400, 300, (101.0, 53.0))
    assert np.array_equal(read_box(slide, frame, frame.box), PAINTING.rgb[53:353, 101:501])


def test_a_box_of_a_large_single_level_is_read_in_bounded_parts(monkeypatch):
    monkeypatch.setattr(sampling, "LARGEST_SOURCE_PX", 100 * 100)
    slide = ArraySlide(PAINTING.rgb)
    frame = frame_of(slide, 10.0)
    pixels = read_box(slide, frame, frame.box)
    assert max(box.width * box.height for box, _ in slide.reads) <= 100 * 100
    assert np.abs(pixels - PAINTING.rgb.reshape(50, 10, 70, 10, 3).mean((1, 3))).max() <= 0.5


def test_a_thumbnail_keeps_the_proportions_and_never_enlarges():
    pixels, frame = thumbnail(SLIDE, 100)
    assert pixels.shape == (72, 100, 3)
    assert frame.downsample == 7.0
    pixels, frame = thumbnail(SLIDE, 5000)
    assert np.array_equal(pixels, PAINTING.rgb)


def test_dark_nuclei_stay_dark_and_glass_stays_white_when_shrunk():
    painting = paint_tissue((256, 256), [Nucleus(128, 128, 20, 20)], noise=0)
    slide = ArraySlide(painting.rgb)
    pixels = read_box(slide, frame_of(slide, 1.9), Box(0, 0, 134, 134))
    assert pixels.max() <= painting.rgb.max(), "no ringing above the brightest pixel"
    assert pixels.min() >= painting.rgb.min()
