"""Bad files are refused with their code, in one line, before a C library can crash or hang on them."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from synthetic import overwrite, paint_tissue, scattered, set_tag, tile_bytes, truncate, write_slide

from wsiseg.errors import SettingsError, SlideError
from wsiseg.slides import open_slide
from wsiseg.slides.precheck import check_file, slide_file

SIZE = (1100, 700)
PAINTING = paint_tissue(SIZE, scattered(SIZE))
WIDTH, TILE_WIDTH, TILE_OFFSETS = 256, 322, 324


def good(path):
    return write_slide(path, PAINTING.rgb)


def written(path, data, **options):
    tifffile.imwrite(path, data, metadata=None, tile=(256, 256), **options)


def associated_only(path):
    rgb = np.zeros((60, 80, 3), np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for name, kind in (("label 80x60", 1), ("macro 80x60", 9)):
            text = f"Aperio Image Library\r\n{name}"
            writer.write(rgb, photometric="rgb", description=text, subfiletype=kind, metadata=None)


def loop(path):
    good(path)
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0].offset, tiff.pages[len(tiff.pages) - 1]
        entries = len(last.tags)
    overwrite(path, last.offset + 2 + 12 * entries, first.to_bytes(4, "little"))


def next_directory_far_away(path):
    good(path)
    overwrite(path, 4, (2**31).to_bytes(4, "little"))


GREY = PAINTING.rgb[..., 0]
MADE = {
    "empty": (lambda p: p.write_bytes(b""), "E-SLIDE-EMPTY"),
    "three bytes": (lambda p: p.write_bytes(b"II*"), "E-SLIDE-FORMAT"),
    "a header alone": (lambda p: p.write_bytes(b"II*\0\x08\0\0\0"), "E-SLIDE-TRUNCATED"),
    "text": (
        lambda p: p.write_text("this is no slide\n" * 100),
        "E-SLIDE-FORMAT(?=.*OpenSlide: )(?=.*tiffslide: )",
    ),
    "folder": (lambda p: p.mkdir(), "E-SLIDE-KIND.*a folder"),
    "missing": (lambda p: None, "E-SLIDE-MISSING"),
    "name too long": (lambda p: p.with_name("x" * 300), "E-SLIDE-MISSING"),
    "label and macro": (associated_only, "E-NO-PYRAMID"),
    "greyscale": (lambda p: written(p, GREY), "E-PIXEL-FORMAT.*grayscale"),
    "16 bit": (
        lambda p: written(p, PAINTING.rgb.astype(np.uint16), photometric="rgb"),
        "E-PIXEL-FORMAT.*BitsPerSample is 16",
    ),
    "CMYK": (
        lambda p: written(p, np.dstack([PAINTING.rgb, GREY]), photometric="separated"),
        "E-PIXEL-FORMAT.*CMYK",
    ),
    "palette": (
        lambda p: written(p, GREY, photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
        "E-PIXEL-FORMAT.*palette",
    ),
    "planar": (
        lambda p: written(p, PAINTING.rgb.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        "E-PIXEL-FORMAT.*PlanarConfiguration",
    ),
    "absurd width": (
        lambda p: (good(p), set_tag(p, WIDTH, 2_000_000_000)),
        "E-LIMIT-DIMS.*2000000000",
    ),
    "absurd tile": (
        lambda p: (good(p), set_tag(p, TILE_WIDTH, 452_984_832)),
        "E-LIMIT-TILE.*452984832",
    ),
    "loop of directories": (loop, "E-SLIDE-FORMAT.*loop"),
    "directory beyond the end": (next_directory_far_away, "E-SLIDE-TRUNCATED"),
}


@pytest.mark.parametrize("fault", MADE)
@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_a_bad_file_is_refused_with_its_code(fault, reader, tmp_path):
    make, expected = MADE[fault]
    path = tmp_path / "slide.svs"
    made = make(path)
    path = made if fault == "name too long" else path
    began = time.monotonic()
    with pytest.raises(SlideError, match=expected) as caught:
        open_slide(path, reader=reader)
    assert time.monotonic() - began < 20, "it hangs"
    assert caught.value.exit_status == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.5, 0.8, 0.99, 0.9999])
@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
def test_a_truncated_slide_is_refused_wherever_it_ends(share, compression, tmp_path):
    path = write_slide(tmp_path / "slide.svs", PAINTING.rgb, compression=compression)
    truncate(path, share)
    with pytest.raises(SlideError, match=r"E-SLIDE-TRUNCATED.*at byte \d+, the file has \d+"):
        open_slide(path)


def test_a_truncated_slide_names_its_first_missing_tile(tmp_path):
    path = good(tmp_path / "slide.svs")
    offset, _ = tile_bytes(path, 1)[0]
    far = path.stat().st_size
    set_tag(path, TILE_OFFSETS, [offset, far - 1], 1)
    last = far - 1 + tile_bytes(path, 1)[1][1]
    with pytest.raises(SlideError, match=f"tile 1 of level 1 ends at byte {last}, the file has {far}"):
        open_slide(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_sockets_devices_and_dead_links_are_refused_without_opening_them(tmp_path):
    pipe = tmp_path / "pipe.svs"
    os.mkfifo(pipe)
    link = tmp_path / "link.svs"
    link.symlink_to(tmp_path / "gone.svs")
    plug = socket.socket(socket.AF_UNIX)
    plug.bind(str(tmp_path / "s"))
    cases = {pipe: "KIND.*named pipe", tmp_path / "s": "KIND.*socket", link: "MISSING.*leads nowhere"}
    for path, expected in (cases | {"/dev/null": "KIND.*character device"}).items():
        with pytest.raises(SlideError, match=f"E-SLIDE-{expected}"):
            open_slide(path)
    plug.close()


def test_an_unfinished_download_is_refused(tmp_path):
    path = good(tmp_path / "slide.svs")
    with pytest.raises(SlideError, match=r"E-SLIDE-KIND.*unfinished"):
        open_slide(path.rename(tmp_path / "slide.svs.partial"))


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no line break in a name")
def test_a_line_break_in_a_name_stays_out_of_the_message(tmp_path):
    path = tmp_path / "two\nlines\x1b[31m.svs"
    with pytest.raises(SlideError, match="E-SLIDE-MISSING") as caught:
        open_slide(path)
    assert str(caught.value).isprintable()
    slide = open_slide(good(path))
    assert slide.read_region((0, 0), 0, (4, 4)).shape == (4, 4, 3)
    slide.close()


def test_an_unknown_reader_is_a_usage_error(tmp_path):
    with pytest.raises(SettingsError, match=r"E-USAGE.*openslide, tiffslide"):
        open_slide(good(tmp_path / "slide.svs"), reader="cucim")


def test_flipped_bytes_are_refused_or_pass_but_never_crash_or_hang_the_check(tmp_path):
    path = write_slide(tmp_path / "slide.svs", PAINTING.rgb, compression="jpeg")
    sound = path.read_bytes()
    rng = np.random.default_rng(11)
    with tifffile.TiffFile(path) as tiff:
        structure = [page.offset + k for page in tiff.pages for k in range(2 + 12 * len(page.tags) + 4)]
    for _ in range(300):
        broken = bytearray(sound)
        for place in rng.choice(structure, 2):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        began = time.monotonic()
        with contextlib.suppress(SlideError):
            check_file(slide_file(path))
        assert time.monotonic() - began < 1


def test_importing_slides_loads_no_reader_and_no_network():
    code = (
        "import sys, wsiseg.slides, wsiseg.tissue\n"
        "print([m for m in ('openslide', 'tiffslide', 'tifffile', 'torch', 'zarr', 'dask') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
