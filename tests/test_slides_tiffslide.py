"""The tiffslide reader, judged by OpenSlide on the real slides that both open."""

from pathlib import Path

import numpy as np
import pytest
from slide_contract import SlideContract

from wsiseg.geometry import Box, Frame
from wsiseg.slides import open_slide, read_box

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "slides"


class TestTiffSlide(SlideContract):
    reader = "tiffslide"


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs"])
@pytest.mark.parametrize("downsample", [0.5, 1.0, 1.7])
def test_openslide_reads_the_same_pixels(name, downsample):
    if not (DATA / name).exists():
        pytest.skip(f"no real slide {name} beside the repository")
    ours, oracle = (open_slide(DATA / name, reader=reader, mpp=1.0) for reader in ("tiffslide", "openslide"))
    assert [(level.width, level.height) for level in ours.info.levels] == [
        (level.width, level.height) for level in oracle.info.levels
    ]
    frame = Frame.over(oracle.info.area, downsample)
    for x, y in ((0, 0), (frame.width // 2, frame.height // 2), (frame.width - 200, frame.height - 200)):
        box = Box(x - 30, y - 30, 260, 260)
        difference = read_box(ours, frame, box).astype(int) - read_box(oracle, frame, box)
        # Two JPEG decoders round differently; two colour conversions of JPEG 2000 as well.
        assert np.abs(difference).mean() < 0.5
        assert np.abs(difference).max() <= 8
    ours.close()
    oracle.close()


def test_an_ome_tiff_is_opened():
    path = DATA / "OS-1-detail.ome.tif"
    if not path.exists():
        pytest.skip("no real OME-TIFF beside the repository")
    slide = open_slide(path, reader="tiffslide")
    assert slide.info.levels[0].box == Box(0, 0, 1101, 1101)
    assert slide.info.checked_mpp().value == pytest.approx(0.2271, abs=1e-4)
    assert slide.info.mpp.source == "XResolution=44034/centimeter"
    assert read_box(slide, slide.info.frame_at(0.5), Box(-32, -32, 320, 320)).shape == (320, 320, 3)
    slide.close()
