"""What cannot be read looks like the background, is remembered in squares, and is not asked for again."""

import numpy as np
import pytest
from synthetic import ArraySlide, paint_tissue

from wsiseg.errors import SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.run.gaps import tiles_under
from wsiseg.slides import PatchedSlide, read_box
from wsiseg.slides.patched import PATCH_PX
from wsiseg.tiling import TileGrid

SIZE = (1100, 700)
RGB = paint_tissue(SIZE).rgb
RGB[200:600, 200:800] = (90, 60, 130)


def expected():
    """The pixels with the one square lost that holds the unreadable place."""
    pixels = RGB.copy()
    pixels[256:512, 512:768] = 255
    return pixels


def patched(**options):
    slide = ArraySlide(RGB, unreadable=Box(600, 300, 9, 9), **options)
    return slide, PatchedSlide(slide)


def test_a_region_shows_everything_but_the_lost_square():
    _, slide = patched()
    assert np.array_equal(slide.read_region((0, 0), 0, SIZE), expected())
    assert slide.lost(0).tolist() == [[512, 256, 768, 512]]
    for x, y, width, height in ((590, 290, 20, 20), (500, 200, 300, 100), (700, 500, 400, 200), (0, 0, 50, 50)):
        region = slide.read_region((x, y), 0, (width, height))
        assert np.array_equal(region, expected()[y : y + height, x : x + width])
    assert len(slide.lost(0)) == 1


def test_what_is_lost_is_not_asked_for_again():
    below, slide = patched()
    slide.read_region((0, 0), 0, SIZE)
    below.reads.clear()
    slide.read_region((0, 0), 0, SIZE)
    assert len(below.reads) == 5 * 3 - 1
    assert all(box.intersection(Box(512, 256, PATCH_PX, PATCH_PX)).empty for box, _ in below.reads)
    below.reads.clear()
    assert np.array_equal(slide.read_region((0, 0), 0, (500, 700)), RGB[:, :500])
    assert len(below.reads) == 1, "a region without lost squares is read at once"


def test_levels_are_kept_apart():
    _, slide = patched(downsamples=(1.0, 4.0))
    slide.read_region((0, 0), 0, SIZE)
    assert slide.lost(1).shape == (0, 4)
    assert slide.read_region((0, 0), 1, (275, 175)).shape == (175, 275, 3)


def test_other_errors_pass_through():
    below, slide = patched()
    with pytest.raises(ValueError, match="not inside"):
        slide.read_region((0, 0), 0, (9999, 8))
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        below.read_region((0, 0), 0, (8, 8))


@pytest.mark.parametrize("downsample", [1.0, 1.7, 2.0, 3.9])
def test_the_tiles_under_a_lost_square_are_those_whose_pixels_it_feeds(downsample):
    _, slide = patched()
    frame = Frame.over(slide.info.area, downsample)
    pixels = read_box(slide, frame, frame.box)
    grid = TileGrid(frame, 64)
    lost = tiles_under(grid, slide.lost(0))
    true = read_box(ArraySlide(RGB), frame, frame.box)
    # Two pixels beside a lost square see a little of it through the filter.
    changed = (np.abs(pixels.astype(int) - true).max(2) > 60).nonzero()
    touched = np.zeros(grid.shape, bool)
    touched[changed[0] // 64, changed[1] // 64] = True
    assert (touched <= lost).all()
    assert touched.any()


def test_tiles_under_boxes_are_counted_at_their_edges():
    grid = TileGrid(Frame(256, 192, 2.0, (100.0, 50.0)), 64)

    def tiles(*box):
        return np.argwhere(tiles_under(grid, [box])).tolist()

    assert tiles(100, 50, 228, 178) == [[0, 0]], "a box that ends where a tile begins does not meet it"
    assert tiles(227, 177, 229, 179) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert tiles(0, 0, 90, 40) == []
    assert tiles(600, 430, 5000, 5000) == [[2, 3]]
    assert tiles_under(grid, np.empty((0, 4))).sum() == 0
    assert tiles_under(grid, [(0, 0, 9999, 9999), (100, 50, 101, 51)]).all()
