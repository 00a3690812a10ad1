"""The OpenSlide reader."""

from pathlib import Path

import numpy as np
import pytest
from slide_contract import SlideContract

from wsiseg.errors import SlideError
from wsiseg.geometry import Box
from wsiseg.slides import open_slide
from wsiseg.slides.properties import background_colour, stated_bounds

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "slides"


class TestOpenSlide(SlideContract):
    reader = "openslide"


@pytest.mark.skipif(not DATA.exists(), reason="no real slides beside the repository")
def test_a_dicom_folder_is_opened_by_its_largest_level():
    by_folder = open_slide(DATA / "dicom-cmu-small")
    by_file = open_slide(DATA / "dicom-cmu-small" / "level-0-frames-0-30.dcm")
    assert by_folder.info == by_file.info
    assert len(by_folder.info.levels) == 12
    assert by_folder.info.mpp.value == pytest.approx(0.499)
    pixels = by_folder.read_region((500, 1000), 2, (64, 64))
    assert np.array_equal(pixels, by_file.read_region((500, 1000), 2, (64, 64)))
    by_folder.close()
    by_file.close()


@pytest.mark.skipif(not DATA.exists(), reason="no real slides beside the repository")
def test_a_slide_that_only_another_reader_opens_is_refused_with_the_remedy():
    with pytest.raises(SlideError, match=r"E-SLIDE-FORMAT.*--reader tiffslide"):
        open_slide(DATA / "OS-1-detail.ome.tif")


def test_bounds_need_all_four_numbers_and_are_clipped():
    keys = {"openslide.bounds-x": "10", "openslide.bounds-y": "20", "openslide.bounds-width": "500"}
    assert stated_bounds(keys, "openslide", Box(0, 0, 300, 300)) is None
    keys["openslide.bounds-height"] = "100"
    assert stated_bounds(keys, "openslide", Box(0, 0, 300, 300)) == Box(10, 20, 290, 100)
    keys["openslide.bounds-x"] = "None"
    assert stated_bounds(keys, "openslide", Box(0, 0, 300, 300)) is None


@pytest.mark.parametrize(("text", "colour"), [("FF8000", (255, 128, 0)), (None, (255,) * 3), ("red", (255,) * 3)])
def test_the_background_colour_is_white_unless_stated(text, colour):
    assert background_colour(text) == colour
