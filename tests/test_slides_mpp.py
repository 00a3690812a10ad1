"""A pixel size is read from where the slide states it, believed only if it can be true, and never guessed."""

import pytest
from synthetic import paint_tissue, write_slide

from wsiseg.errors import SettingsError, SlideError
from wsiseg.slides import READERS, open_slide
from wsiseg.slides.readers import open_handle

PIXELS = paint_tissue((300, 300)).rgb


def opened(tmp_path, reader, **options):
    path = write_slide(tmp_path / "slide.svs", PIXELS, downsamples=(1,), **options)
    slide = open_handle(path, READERS[reader])
    slide.close()
    return slide.info


def plain_tiff(resolution, unit):
    return {"description": "", "resolution": resolution, "resolutionunit": unit}


@pytest.fixture(params=["openslide", "tiffslide"])
def reader(request):
    return request.param


@pytest.mark.parametrize(
    ("options", "mpp", "source"),
    [
        ({"mpp": "0.2520"}, 0.252, "aperio.MPP"),
        ({"mpp": "0,2520"}, 0.252, "aperio.MPP"),
        ({"mpp": 0.5, "power": 20}, 0.5, "aperio.MPP"),
        ({"mpp": 0.172, "power": 40}, 0.172, "aperio.MPP"),
        (plain_tiff((40000, 40000), "centimeter"), 0.25, "XResolution=40000/centimeter"),
        (plain_tiff((101600, 101600), "inch"), 0.25, "XResolution=101600/inch"),
    ],
)
def test_a_stated_pixel_size_is_read_with_its_source(options, mpp, source, reader, tmp_path):
    stated = opened(tmp_path, reader, **options).checked_mpp()
    assert stated.value == pytest.approx(mpp)
    assert stated.source == source


@pytest.mark.parametrize("text", [None, "nan", "inf", "-0.25", "0", "unknown", ""])
def test_what_is_no_number_is_missing(text, reader, tmp_path):
    info = opened(tmp_path, reader, mpp=text)
    with pytest.raises(SlideError, match=r"E-MPP-MISSING.*pass --mpp, for example --mpp 0\.25"):
        info.checked_mpp()


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"mpp": 0.01, "power": None}, r"0\.01 um/px .* from aperio.MPP"),
        ({"mpp": 25, "power": None}, r"25 um/px .* from aperio.MPP"),
        ({"mpp": 0.5, "power": 40}, r"0\.5 um/px .*40x objective gives about 0\.25.* from aperio.MPP"),
        ({"mpp": 0.025, "power": 10}, r"0\.025 um/px"),
        (plain_tiff((72, 72), "inch"), r"352\.778 um/px .* from XResolution=72/inch"),
        (plain_tiff((96, 96), "inch"), r"264\.583 um/px .* from XResolution=96/inch"),
        (plain_tiff((40000, 30000), "centimeter"), r"pixels of 0\.25 x 0\.333333 um .*not square"),
    ],
)
def test_an_incredible_pixel_size_is_refused_with_numbers_and_source(options, numbers, reader, tmp_path):
    info = opened(tmp_path, reader, **options)
    with pytest.raises(SlideError, match=f"E-MPP-IMPLAUSIBLE.*{numbers}.*--mpp"):
        info.frame_at(0.5)


def test_the_command_line_overrides_an_incredible_pixel_size(reader, tmp_path):
    path = write_slide(tmp_path / "slide.svs", PIXELS, downsamples=(1,), mpp=25)
    slide = open_slide(path, reader=reader, mpp=0.25)
    assert slide.info.frame_at(0.5).downsample == 2.0
    assert slide.info.mpp.source == "--mpp"
    slide.close()


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf")])
def test_the_command_line_must_give_a_number(mpp, tmp_path):
    path = write_slide(tmp_path / "slide.svs", PIXELS, downsamples=(1,))
    with pytest.raises(SettingsError, match="E-USAGE"):
        open_slide(path, mpp=mpp)
