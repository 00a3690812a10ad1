"""The tiffslide reader, judged by OpenSlide on the slides that both open."""

import struct
from pathlib import Path

import damaged
import imagecodecs
import numpy as np
import pytest
import tifffile
from slide_contract import PAINTING, SlideContract
from synthetic import aperio_text, paint_tissue, scattered, set_tag, shrunk, tile_bytes, write_slide

from wsiseg.errors import SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides import READERS, open_slide, read_box
from wsiseg.slides.readers import open_handle
from wsiseg.slides.tile_cache import TileCache

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
        assert np.array_equal(read_box(ours, frame, box), read_box(oracle, frame, box))
    ours.close()
    oracle.close()


def coloured(size):
    """Noise in all three channels: smooth colours would not tell how a decoder enlarges them."""
    rgb = paint_tissue(size, scattered(size)).rgb
    return np.clip(rgb + np.random.default_rng(3).normal(0, 20, rgb.shape), 0, 255).astype(np.uint8)


def jpeg_tiles(rgb, side, **options):
    """The JPEG of each tile, row by row, repeated beyond the edge as scanners do."""
    height, width = rgb.shape[:2]
    padded = np.pad(rgb, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield imagecodecs.jpeg8_encode(padded[y : y + side, x : x + side].copy(), level=75, **options)


def parted(jpeg):
    """Cut a JPEG into its tables (DQT, DHT) and what is left, two streams; colours are the TIFF's matter alone."""
    tables, rest, at = [], [], 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[at : at + 4])
        if marker not in (0xFFE0, 0xFFEE):  # JFIF, Adobe
            (tables if marker in (0xFFDB, 0xFFC4) else rest).append(jpeg[at : at + 2 + length])
        at += 2 + length
        if marker == 0xFFDA:
            break
    return b"\xff\xd8" + b"".join(tables) + b"\xff\xd9", b"\xff\xd8" + b"".join(rest) + jpeg[at:]


@pytest.mark.parametrize("tables", [False, True], ids=["whole", "JPEGTables"])
@pytest.mark.parametrize(
    ("photometric", "subsampling"),
    [("ycbcr", (2, 2)), ("ycbcr", (2, 1)), ("ycbcr", (1, 1)), ("rgb", (1, 1)), ("rgb", (2, 2))],
)
def test_jpeg_is_decoded_to_the_pixels_of_openslide(photometric, subsampling, tables, tmp_path):
    path, rgb, side = tmp_path / "slide.svs", coloured((700, 500)), 240
    chroma = {(2, 2): "420", (2, 1): "422", (1, 1): "444"}[subsampling]
    with tifffile.TiffWriter(path) as writer:
        for downsample in (1, 4):
            level = shrunk(rgb, downsample)
            jpegs = jpeg_tiles(level, side, colorspace="rgb", outcolorspace=photometric, subsampling=chroma)
            common, tiles = zip(*map(parted, jpegs), strict=True)
            if not tables:
                tiles = [first[:-2] + rest[2:] for first, rest in zip(common, tiles, strict=True)]
            writer.write(
                iter(tiles),
                shape=level.shape,
                dtype=np.uint8,
                tile=(side, side),
                compression="jpeg",
                compressionargs={"outcolorspace": photometric},
                photometric="rgb",
                subsampling=subsampling,
                jpegtables=common[0] if tables else None,
                description=aperio_text(rgb),
                metadata=None,
                software=False,
            )
            if downsample == 1:
                writer.write(level[:64, :64], photometric="rgb", description=aperio_text(rgb), metadata=None)
    ours, oracle = (open_handle(path, READERS[reader]) for reader in ("tiffslide", "openslide"))
    assert len(ours.info.levels) == 2
    for level, frame in enumerate(ours.info.levels):
        found = ours.read_region((0, 0), level, frame.shape[::-1])
        assert np.array_equal(found, oracle.read_region((0, 0), level, frame.shape[::-1]))
        assert np.abs(found.astype(int) - shrunk(rgb, 4**level)).mean() < 20, "and they are the slide's"
    ours.close()
    oracle.close()


def test_a_jpeg_larger_than_its_tile_is_refused_before_it_is_decoded(tmp_path):
    damaged.bomb(tmp_path / "slide.svs", "jpeg")
    slide = open_handle(tmp_path / "slide.svs", READERS["tiffslide"])
    with pytest.raises(SlideError, match=r"E-SLIDE-READ.*a tile holds a JPEG of 65500 x 65500 px"):
        slide.read_region((256, 256), 0, (256, 256))
    slide.close()


def test_a_jpeg_that_was_cut_is_refused_and_not_filled_up(tmp_path):
    path = write_slide(tmp_path / "slide.svs", PAINTING.rgb, compression="jpeg")
    counts = [count for _, count in tile_bytes(path)]
    set_tag(path, 325, [counts[0] * 3 // 4, *counts[1:]])
    slide = open_handle(path, READERS["tiffslide"])
    with pytest.raises(SlideError, match=r"E-SLIDE-READ.*the JPEG of a tile has no end"):
        slide.read_region((0, 0), 0, (256, 256))
    assert slide.read_region((256, 0), 0, (256, 256)).shape == (256, 256, 3)
    slide.close()


def test_levels_that_are_composed_of_images_are_left_to_openslide(tmp_path):
    image = """<image><creationDate/><device model="m" version="1"/><view sizeX="{1}" sizeY="{1}" offsetX="{2}"
        offsetY="{2}"/><pixels sizeX="512" sizeY="512"><dimension sizeX="512" sizeY="512" r="0" ifd="{0}"/>
        <dimension sizeX="256" sizeY="256" r="1" ifd="{3}"/></pixels><scanSettings><objectiveSettings><objective>40
        </objective></objectiveSettings><illuminationSettings><numericalAperture>1</numericalAperture>
        <illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"""
    images = image.format(0, 512000, 0, 1) + image.format(2, 128000, 1000, 3)
    space = "http://www.leica-microsystems.com/scn/2010/10/01"
    collection = f'<collection sizeX="512000" sizeY="512000">{images}</collection>'
    text = f'<?xml version="1.0"?><scn xmlns="{space}">{collection}</scn>'
    path = tmp_path / "slide.scn"
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for side in (512, 256, 512, 256):
            rgb = np.zeros((side, side, 3), np.uint8)
            writer.write(rgb, tile=(256, 256), photometric="rgb", description=text, metadata=None, software=False)
    with pytest.raises(SlideError, match=r"E-SLIDE-FORMAT.*composed of images, as in Leica SCN"):
        open_handle(path, READERS["tiffslide"])


def test_strips_are_read_as_tiles_are(tmp_path):
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, PAINTING.rgb, photometric="rgb", rowsperstrip=30, compression="deflate", metadata=None)
    slide = open_handle(path, READERS["tiffslide"])
    assert np.array_equal(slide.read_region((77, 101), 0, (500, 333)), PAINTING.rgb[101:434, 77:577])
    slide.close()


def test_a_slide_that_was_replaced_is_not_taken_for_the_old_one(tmp_path):
    path = write_slide(tmp_path / "slide.svs", PAINTING.rgb)
    for rgb in (PAINTING.rgb, 255 - PAINTING.rgb):
        slide = open_handle(write_slide(path, rgb), READERS["tiffslide"])
        assert np.array_equal(slide.read_region((0, 0), 0, (300, 300)), rgb[:300, :300])
        slide.close()


def test_the_cache_forgets_what_was_not_asked_for_the_longest():
    cache = TileCache(3 * 100)
    tiles = {name: np.full(100, number, np.uint8) for number, name in enumerate("abcde")}
    for name in "abc":
        cache.keep(name, tiles[name])
        cache.keep(name, tiles[name])  # another thread was as fast
    assert cache.get("a") is tiles["a"]
    cache.keep("d", tiles["d"])
    assert [cache.get(name) is tiles[name] for name in "abcd"] == [True, False, True, True]
    cache.keep("e", np.zeros(301, np.uint8))
    assert [cache.get(name) for name in "abcde"] == [None] * 5


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
