"""The structural check takes any bytes: it refuses or passes them, in milliseconds and little memory."""

import contextlib
import io
import time
import tracemalloc
from pathlib import Path

import damaged
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import drop_tile

from wsiseg.errors import SlideError
from wsiseg.geometry import Frame
from wsiseg.slides.tiff import TIFF_MAGIC, check_tiff, unwritten_tiles

EXAMPLES = settings(
    max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)
CODES = {
    "",
    "E-SLIDE-TRUNCATED",
    "E-SLIDE-FORMAT",
    "E-LIMIT-DIMS",
    "E-LIMIT-TILE",
    "E-NO-PYRAMID",
    "E-PIXEL-FORMAT",
}


def check(data):
    """Check bytes as a file; give the code of the refusal, or nothing."""
    began = time.process_time()
    try:
        check_tiff(io.BytesIO(data), Path("slide.svs"))
        code = ""
    except SlideError as error:
        code = error.code
    assert time.process_time() - began < 2
    assert code in CODES
    return code


def sound(order="<", *, big=False):
    """A slide, and the offsets of the bytes of its structure."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order, bigtiff=big) as writer:
        for step in (1, 2):
            pixels = damaged.PAINTING.rgb[::step, ::step]
            writer.write(pixels, tile=(64, 64), photometric="rgb", metadata=None, compression="deflate")
    data, structure = file.getvalue(), list(range(16))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        for page in tiff.pages:
            size = 8 + 20 * len(page.tags) + 8 if big else 2 + 12 * len(page.tags) + 4
            structure += range(page.offset, page.offset + size)
            structure += [page.tags[code].valueoffset + i for code in (324, 325) for i in range(40)]
    return data, structure


VARIETIES = {f"{order}{big}": sound(order, big=big) for order in "<>" for big in (False, True)}


@pytest.mark.parametrize("variety", VARIETIES)
def test_each_variety_of_tiff_passes_and_is_refused_when_cut(variety):
    data, _ = VARIETIES[variety]
    assert check(data) == ""
    for share in (0.05, 0.3, 0.7, 0.99):
        assert check(data[: int(len(data) * share)]) == "E-SLIDE-TRUNCATED"


@given(st.sampled_from(sorted(VARIETIES)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1))
@EXAMPLES
def test_flipped_bytes_are_refused_or_pass(variety, flips):
    data, structure = VARIETIES[variety]
    broken = bytearray(data)
    for where, value in flips:
        broken[structure[int(where * (len(structure) - 1))]] = value
    check(bytes(broken))


@given(st.sampled_from(TIFF_MAGIC), st.binary(max_size=400))
@EXAMPLES
def test_any_bytes_after_the_magic_are_refused(magic, data):
    assert check(magic + data) != ""


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 8, 16, 255, 256, 2**16, 2**20, 2**26, 2**31, 2**32 - 1]), st.integers(0, 400)
)
CODE = st.sampled_from([254, 256, 257, 258, 262, 270, 273, 277, 278, 279, 284, 322, 323, 324, 325, 330, 65420])


@given(st.lists(st.lists(st.tuples(CODE, st.integers(0, 18), NUMBERS, NUMBERS)), max_size=5), st.booleans())
@EXAMPLES
def test_any_directories_are_refused_or_pass(directories, big):
    path = io.BytesIO()
    path.write_bytes = path.write
    damaged.tiff(path, *[(entries, None) for entries in directories], big=big)
    check(path.getvalue())


@pytest.mark.parametrize("make", [damaged.overlapping_directories, damaged.endless_sub_directories])
def test_a_small_file_cannot_make_the_check_large(make, tmp_path):
    make(tmp_path / "slide.svs")
    tracemalloc.start()
    with (tmp_path / "slide.svs").open("rb") as file, contextlib.suppress(SlideError):
        check_tiff(file, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_unwritten_tiles_are_found_where_they_lie(tmp_path):
    path = damaged.good(tmp_path / "slide.svs")
    drop_tile(path, 6)
    drop_tile(path, 14)
    with path.open("rb") as file:
        found = unwritten_tiles(file, path, Frame(*damaged.SIZE))
        assert found.tolist() == [[256, 256, 512, 512], [1024, 512, 1280, 768]]
        assert unwritten_tiles(file, path, Frame(275, 175, 4.0)).shape == (0, 4)
        assert unwritten_tiles(file, path, Frame(10, 10)).shape == (0, 4)
    assert np.isfinite(found).all()
