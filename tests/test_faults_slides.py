"""Every way in which a slide can be wrong, and the exact refusal or record that it gets.

Letters and numbers are those of the catalogue in docs/reliability.md. What is not here has a file of its own: A12,
A15, A28 and A29 are in the contract of the readers, A23 and A24 in `test_slides_contained`, A27 in the tests of
cohorts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import damaged
import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import zarr
from damaged import PAINTING, SIZE, good, plain, with_tag
from faults.hostile_slides import mutations
from synthetic import corrupt_tile, drop_tile, overwrite, paint_tissue, tile_bytes, write_slide
from test_run_exact import assert_same
from toy import TILE_PX, ColourPredictor, describe_bundle, run_toy, toy_spec

from wsiseg.errors import DamageError, OutputError, SlideError
from wsiseg.run import State, inspect_run, verify_run
from wsiseg.run.gaps import UNKNOWN, check_gaps, tiles_under
from wsiseg.slides import READERS, ContainedSlide, Opening, open_slide
from wsiseg.tiling import TileGrid

BOTH = ("openslide", "tiffslide")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return describe_bundle(tmp_path_factory.mktemp("bundle") / "toy", toy_spec())


def resolution(number, unit, **options):
    return lambda path: good(path, description="", resolution=number, resolutionunit=unit, **options)


def special(kind):
    """Make what is no regular file."""

    def make(path):
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "link":
                path.symlink_to(path.with_name("gone.svs"))
            case "device":
                path.symlink_to("/dev/null")
            case "folder":
                path.mkdir()
            case "partial":
                return good(path.with_name("slide.svs.partial"))
            case "long":
                return path.with_name("x" * 300)
            case "nul":
                return Path(f"{path}\0.svs")
        return path

    return make


GREY, RGB = damaged.GREY, PAINTING.rgb
REFUSED = {
    "A1 no pixel size": (resolution(None, None), r"E-MPP-MISSING\]: no pixel size .*pass --mpp"),
    "A2 too fine": (lambda p: good(p, mpp=0.01, power=None), r"E-MPP-IMPLAUSIBLE\]: 0\.01 um/px .*aperio\.MPP"),
    "A2 too coarse": (lambda p: good(p, mpp=25, power=None), r"E-MPP-IMPLAUSIBLE\]: 25 um/px"),
    "A2 72 dpi": (resolution((72, 72), "inch"), r"E-MPP-IMPLAUSIBLE\]: 352\.778 um/px .*XResolution=72/inch"),
    "A2 96 dpi": (resolution((96, 96), "inch"), r"E-MPP-IMPLAUSIBLE\]: 264\.583 um/px .*XResolution=96/inch"),
    "A2 not square": (resolution((40000, 30000), "centimeter"), r"E-MPP-IMPLAUSIBLE\]: .*not square"),
    "A2 objective": (lambda p: good(p, mpp=0.5, power=40), r"E-MPP-IMPLAUSIBLE\]: 0\.5 um/px .*40x objective"),
    "A3 nan": (lambda p: good(p, mpp="nan"), r"E-MPP-MISSING"),
    "A3 inf": (lambda p: good(p, mpp="inf"), r"E-MPP-MISSING"),
    "A3 negative": (lambda p: good(p, mpp="-0.25"), r"E-MPP-MISSING"),
    "A3 zero": (lambda p: good(p, mpp="0"), r"E-MPP-MISSING"),
    "A3 words": (lambda p: good(p, mpp="a quarter"), r"E-MPP-MISSING"),
    "A3 zero denominator": (resolution((0, 0), "centimeter"), r"E-MPP-MISSING"),
    **{
        f"A4 cut at {share:.2%}": (
            lambda p, share=share: damaged.cut(p, share),
            r"E-SLIDE-TRUNCATED\]: .* at byte \d+, the file has \d+; .*copy or download it again",
        )
        for share in (0.01, 0.1, 0.2, 0.5, 0.8, 0.99, 0.9999)
    },
    "A4 cut JPEG": (
        lambda p: damaged.cut(p, 0.5, compression="jpeg"),
        r"E-SLIDE-TRUNCATED\]: .*at byte \d+, the file has \d+",
    ),
    "A5 empty": (lambda p: p.write_bytes(b""), r"E-SLIDE-EMPTY"),
    "A5 three bytes": (lambda p: p.write_bytes(b"II*"), r"E-SLIDE-FORMAT\]: no reader knows this file"),
    "A5 a header": (lambda p: p.write_bytes(b"II*\0\x08\0\0\0"), r"E-SLIDE-TRUNCATED"),
    "A5 text": (
        lambda p: p.write_text("no slide\n" * 99),
        r"E-SLIDE-FORMAT\]: no reader .*OpenSlide: .*tiffslide: ",
    ),
    "A5 nothing": (lambda p: p, r"E-SLIDE-MISSING\]: there is no such file"),
    "A5 folder": (special("folder"), r"E-SLIDE-KIND\]: the path is a folder"),
    "A5 named pipe": (special("pipe"), r"E-SLIDE-KIND\]: the path is a named pipe"),
    "A5 device": (special("device"), r"E-SLIDE-KIND\]: the path is a character device"),
    "A5 dead link": (special("link"), r"E-SLIDE-MISSING\]: the symbolic link leads nowhere"),
    "A5 download": (special("partial"), r"E-SLIDE-KIND\]: .*download is unfinished"),
    "A13 label and macro": (damaged.associated_only, r"E-NO-PYRAMID\]: .*only a label, macro or thumbnail"),
    "A16 greyscale": (lambda p: plain(p, GREY), r"E-PIXEL-FORMAT\]: .*is grayscale"),
    "A16 16 bit": (
        lambda p: plain(p, RGB.astype("u2"), photometric="rgb"),
        r"E-PIXEL-FORMAT\]: .*BitsPerSample is 16",
    ),
    "A16 CMYK": (
        lambda p: plain(p, np.dstack([RGB, GREY]), photometric="separated"),
        r"E-PIXEL-FORMAT\]: .*is CMYK",
    ),
    "A16 palette": (
        lambda p: plain(p, GREY, photometric="palette", colormap=np.zeros((3, 256), "u2")),
        r"E-PIXEL-FORMAT\]: .*is a palette",
    ),
    "A16 planes": (
        lambda p: plain(p, RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        r"E-PIXEL-FORMAT\]: .*PlanarConfiguration is separate",
    ),
    "A18 width": (
        lambda p: with_tag(p, damaged.WIDTH, 2_000_000_000),
        r"E-LIMIT-DIMS\]: directory 0 claims 2000000000 x 700 px",
    ),
    "A18 height": (
        lambda p: with_tag(p, damaged.HEIGHT, 2_000_000_000),
        r"E-LIMIT-DIMS\]: directory 0 claims 1100 x 2000000000 px",
    ),
    "A18 no width": (lambda p: with_tag(p, damaged.WIDTH, 0), r"E-SLIDE-FORMAT\]: .*claims 15 tiles, .*needs 0"),
    "A19 tile width": (
        lambda p: with_tag(p, damaged.TILE_WIDTH, 452_984_832),
        r"E-LIMIT-TILE\]: directory 0 claims tiles of 452984832 x 256 px",
    ),
    "A19 tile height": (lambda p: with_tag(p, damaged.TILE_HEIGHT, 65535), r"E-LIMIT-TILE\]: .*256 x 65535 px"),
    "A19 tile of nothing": (lambda p: with_tag(p, damaged.TILE_WIDTH, 0), r"E-LIMIT-TILE\]: .*0 x 256 px"),
    "A19 strip": (damaged.strips, r"E-LIMIT-TILE\]: directory 0 claims strips of 60000 x 60000 px"),
    "A21 loop": (damaged.loop, r"E-SLIDE-FORMAT\]: .*its directories form a loop at byte 8"),
    "A21 5000 directories": (damaged.many_directories, r"E-SLIDE-FORMAT\]: .*more than 4096 directories"),
    "A21 overlapping": (damaged.overlapping_directories, r"E-SLIDE-FORMAT\]: .*tags, all so far"),
    "A21 sub-directories": (damaged.endless_sub_directories, r"E-SLIDE-FORMAT\]: .*has 1000000 values"),
    "A21 huge tag": (damaged.huge_tag, r"E-SLIDE-TRUNCATED\]: tag 324 of directory 0 lies at byte"),
    "A21 wrapping tag": (damaged.wrapping_counts, r"E-SLIDE-TRUNCATED\]: tag 324"),
    "A21 wrapping tile": (damaged.wrapping_tile, r"E-SLIDE-TRUNCATED\]: tile 0 of level 0 ends at byte"),
    "A21 long description": (damaged.long_description, r"E-SLIDE-FORMAT\]: .*a description of 17825792 bytes"),
    "A21 duplicate tag": (damaged.duplicate_tags, r"E-LIMIT-DIMS"),
    "A21 far directory": (damaged.far_directory, r"E-SLIDE-TRUNCATED\]: a directory lies at byte"),
    "A21 too few tiles": (damaged.too_few_tiles, r"E-SLIDE-FORMAT\]: .*claims 15 tiles, its size needs 60"),
    "A26 long name": (special("long"), r"E-SLIDE-MISSING\]: the path cannot be looked up"),
    "A26 NUL in the name": (special("nul"), r"E-SLIDE-MISSING\]: the path cannot be looked up"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_bad_slide_is_refused_before_anything_is_written(fault, bundle, tmp_path):
    make, expected = REFUSED[fault]
    path = tmp_path / "slide.svs"
    made = make(path)
    path = made if isinstance(made, Path) else path
    began = time.process_time()
    with pytest.raises(SlideError, match=expected) as refused:
        run_toy(path, tmp_path / "run", bundle)
    assert time.process_time() - began < 2
    assert refused.value.exit_status == 3
    assert str(refused.value).isprintable()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fault", ["A1 no pixel size", "A3 words", "A2 too fine", "A3 zero denominator"])
def test_the_second_reader_refuses_it_too(fault, bundle, tmp_path):
    make, expected = REFUSED[fault]
    make(tmp_path / "slide.svs")
    with pytest.raises(SlideError, match=expected):
        run_toy(tmp_path / "slide.svs", tmp_path / "run", bundle, reader="tiffslide")


# -- A18, A19, A20: what an attacker would send, in a process of its own that is measured ------------------------

MEASURED = {
    "A18 absurd size": (lambda p: with_tag(p, damaged.WIDTH, 2_000_000_000), "E-LIMIT-DIMS"),
    "A19 the abort slide": (lambda p: with_tag(p, damaged.TILE_WIDTH, 452_984_832), "E-LIMIT-TILE"),
    "A20 bomb": (lambda p: damaged.bomb(p, "jpeg"), "E-UNREADABLE"),
}


def measured(code, folder):
    """Run Python code: its exit status, and the most memory that it or a child of its took, in kB.

    Linux counts what a process was before its program too, and a child of this one was as large as this one: so a
    small shell starts it.
    """
    program = (
        "import atexit, resource; from pathlib import Path;"
        "kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN;"
        "most = lambda: str(max(resource.getrusage(kind).ru_maxrss for kind in kinds));"
        f"atexit.register(lambda: Path('most').write_text(most())); {code}"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, program]
    with (folder / "said").open("wb") as said:
        ended = subprocess.run(command, cwd=folder, env=environment, stderr=said, check=False)
    return ended.returncode, int((folder / "most").read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="measured as Linux counts")
@pytest.mark.parametrize("fault", MEASURED)
@pytest.mark.parametrize("reader", BOTH)
def test_an_attack_ends_in_one_line_quickly_and_in_little_memory(fault, reader, bundle, tmp_path):
    make, code = MEASURED[fault]
    make(tmp_path / "slide.svs")
    # The command itself, but for a network that would need more of both than all the rest.
    command = (
        "import sys, toy, wsiseg.run.pipeline as pipeline; from wsiseg.cli import main;"
        "pipeline.own_predictor = lambda *_: toy.ColourPredictor();"
        f"sys.argv = ['wsiseg', 'run', 'slide.svs', '--model', {str(bundle)!r}, '--reader', {reader!r}];"
        "sys.exit(main())"
    )
    status, most = measured(command, tmp_path)
    lines = (tmp_path / "said").read_text().splitlines()
    assert status == 3, lines
    assert [line for line in lines if "error[" in line] == lines[-1:]
    assert code in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert most < 300_000


@pytest.mark.skipif(sys.platform != "linux", reason="the allocation fails elsewhere in another way")
def test_a_slide_that_aborts_the_library_is_contained_without_the_check(tmp_path):
    path = tmp_path / "slide.svs"
    with_tag(path, damaged.TILE_WIDTH, 452_984_832)
    bare = f"import openslide; openslide.OpenSlide({str(path)!r}).read_region((0, 0), 0, (9, 9))"
    died = subprocess.run([sys.executable, "-c", bare], capture_output=True, check=False)
    assert died.returncode == -signal.SIGABRT, "this is what the check and the process are for"

    def read():
        with closing(ContainedSlide(Opening(path, READERS["openslide"]))) as slide:
            slide.read_region((0, 0), 0, (9, 9))

    with pytest.raises(SlideError, match=r"E-POISON|E-SLIDE-READ"):
        read()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
@pytest.mark.parametrize("kind", ["jpeg", "deflate"])
@pytest.mark.parametrize("reader", BOTH)
def test_a_bomb_costs_its_tile_and_little_memory(kind, reader, tmp_path):
    damaged.bomb(tmp_path / "slide.svs", kind)
    status, most = measured(
        f"""
from wsiseg.errors import SlideError
from wsiseg.slides import open_slide
slide = open_slide(Path("slide.svs"), reader={reader!r})
try:
    found = str(slide.read_region((256, 256), 0, (256, 256)).max())
except SlideError as error:
    found = error.code
assert slide.read_region((0, 0), 0, (256, 256)).shape == (256, 256, 3)
slide.close()
Path("found").write_text(found)
""",
        tmp_path,
    )
    assert status == 0, (tmp_path / "said").read_text()
    # libtiff unpacks as much as a tile holds, and no more.
    unpacked = (kind, reader) == ("deflate", "openslide")
    assert (tmp_path / "found").read_text() == ("0" if unpacked else "E-SLIDE-READ")
    assert most < 300_000


# -- A6 to A9, A22: gaps --------------------------------------------------------------------------------------


def tiles_of(index):
    """The toy's tiles under a tile of the slide, of which there are 5 in a row."""
    x, y = index % 5 * 256, index // 5 * 256
    grid = TileGrid(frame(), TILE_PX)
    return [tuple(place) for place in np.argwhere(tiles_under(grid, [(x, y, x + 256, y + 256)])).tolist()]


def frame():
    from wsiseg.geometry import Frame

    return Frame(*SIZE)


def zeroed(path, index):
    offset, count = tile_bytes(path)[index]
    overwrite(path, offset, bytes(count))


def halved(path, index):
    offset, count = tile_bytes(path)[index]
    overwrite(path, offset + count // 2, b"\xff\xd9" + bytes(count - count // 2 - 2))


UNREADABLE = {
    "A6 garbage, openslide": ("openslide", "jpeg", corrupt_tile),
    "A6 garbage, tiffslide": ("tiffslide", "jpeg", corrupt_tile),
    "A6 zeros, openslide": ("openslide", "jpeg", zeroed),
    "A6 zeros, tiffslide": ("tiffslide", "jpeg", zeroed),
    "A6 half, openslide": ("openslide", "jpeg", halved),
    "A6 deflate, openslide": ("openslide", "deflate", corrupt_tile),
    "A6 deflate, tiffslide": ("tiffslide", "deflate", corrupt_tile),
    "A6 lzw, openslide": ("openslide", "lzw", zeroed),
    "A7 JPEG 2000, openslide": ("openslide", "aperio_jp2000_rgb", corrupt_tile),
    "A7 JPEG 2000, tiffslide": ("tiffslide", "aperio_jp2000_rgb", corrupt_tile),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_an_unreadable_tile_fails_the_slide_unless_it_is_allowed(fault, bundle, tmp_path):
    reader, compression, spoil = UNREADABLE[fault]
    path, out = tmp_path / "slide.svs", tmp_path / "run"
    good(path, compression=compression)
    spoil(path, 6)
    with pytest.raises(SlideError, match=r"E-UNREADABLE") as refused:
        run_toy(path, out, bundle, reader=reader, tissue="none")
    expected = tiles_of(6)
    text = str(refused.value)
    assert refused.value.exit_status == 3
    assert f"{len(expected)} of 198 tiles of tissue cannot be read: row 4 column 4, row 4 column 5" in text
    assert "--max-unreadable 0.081" in text
    found = inspect_run(out)
    assert found.state is State.FAILED
    assert "E-UNREADABLE" in found.detail
    assert not (out / "masks.ome.zarr").exists()

    network = ColourPredictor()
    outcome = run_toy(path, out, bundle, reader=reader, tissue="none", max_unreadable=0.081, predictor=network)
    assert network.calls == 0, "what was inferred is used"
    assert_gaps(out, outcome, expected)


def assert_gaps(out, outcome, expected):
    """Check that a run records some tiles as lost, everywhere, and no nucleus in them."""
    tiles = outcome.summary["tiles"]
    assert tiles["unreadable"] == len(expected)
    assert tiles["inferred"] + tiles["unreadable"] == tiles["tissue"]
    assert tiles["tissue"] + tiles["blank"] + tiles["outside"] == tiles["grid"]
    assert [(tile["row"], tile["column"]) for tile in outcome.summary["unreadable_tiles"]] == expected
    assert inspect_run(out).state is State.GAPS
    assert verify_run(out) > 5
    assert f"{len(expected)} squares" in (out / "report.html").read_text()
    labels = zarr.open_group(out / "masks.ome.zarr" / "labels", mode="r")
    classes, nuclei = labels["classes/0"][:], labels["nuclei/0"][:]
    unknown = np.zeros(SIZE[::-1], bool)
    for row, column in expected:
        unknown[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX] = True
    assert np.array_equal(classes == UNKNOWN, unknown)
    assert np.array_equal(labels["classes/1"][:] == UNKNOWN, unknown[::2, ::2])
    assert not nuclei[unknown].any()
    assert nuclei[~unknown].any()
    table = pq.read_table(out / "nuclei.parquet").num_rows
    assert table == len(np.unique(nuclei)) - 1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("bad", [(0,), (0, 1, 7), (14,)])
def test_a8_the_count_is_what_was_injected_whoever_comes_first(bad, workers, bundle, tmp_path):
    path = good(tmp_path / "slide.svs", compression="jpeg")
    for index in bad:
        corrupt_tile(path, index)
    outcome = run_toy(path, tmp_path / "run", bundle, tissue="none", max_unreadable=1.0, workers=workers)
    expected = sorted(tile for index in bad for tile in tiles_of(index))
    assert_gaps(tmp_path / "run", outcome, expected)


def test_gaps_do_not_depend_on_interruptions_and_the_rest_is_untouched(bundle, tmp_path):
    size = (2300, 600)
    path = write_slide(tmp_path / "slide.svs", paint_tissue(size, damaged.scattered(size)).rgb, compression="jpeg")
    corrupt_tile(path, 4)
    whole = run_toy(path, tmp_path / "whole", bundle, tissue="none", max_unreadable=1.0)

    class Stopping(ColourPredictor):
        def predict(self, windows):
            if self.calls >= 14:
                raise KeyboardInterrupt
            return super().predict(windows)

    with pytest.raises(KeyboardInterrupt):
        run_toy(path, tmp_path / "run", bundle, tissue="none", max_unreadable=1.0, predictor=Stopping())
    outcome = run_toy(
        path, tmp_path / "run", bundle, tissue="none", max_unreadable=1.0, predictor=ColourPredictor()
    )
    assert outcome.summary == whole.summary
    assert outcome.summary["tiles"]["unreadable"] == 16
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_run_with_gaps_is_refused_where_none_are_allowed(bundle, tmp_path):
    path, out = good(tmp_path / "slide.svs", compression="jpeg"), tmp_path / "run"
    corrupt_tile(path, 6)
    run_toy(path, out, bundle, tissue="none", max_unreadable=0.5)
    assert run_toy(path, out, bundle, tissue="none", max_unreadable=0.5).already_complete
    with pytest.raises(SlideError, match=r"E-UNREADABLE.*16 of 198"):
        run_toy(path, out, bundle, tissue="none")
    assert inspect_run(out).state is State.GAPS


def test_verify_strict_refuses_gaps(bundle, tmp_path):
    from click.testing import CliRunner

    from wsiseg.cli.run import status, verify

    path, out = good(tmp_path / "slide.svs", compression="jpeg"), tmp_path / "run"
    corrupt_tile(path, 6)
    run_toy(path, out, bundle, tissue="none", max_unreadable=0.5)
    said = CliRunner().invoke(verify, [str(out)])
    assert said.exit_code == 0
    assert "complete-with-gaps" in said.output
    assert "complete-with-gaps: " in CliRunner().invoke(status, [str(out)]).output
    refused = CliRunner().invoke(verify, [str(out), "--strict"])
    assert isinstance(refused.exception, DamageError)
    assert refused.exception.exit_status == 8
    assert "E-GAPS" in str(refused.exception)


def test_a_hopeless_slide_is_given_up_early(tmp_path):
    lost = tuple((0, column) for column in range(101))
    check_gaps(lost, 1000, 0.2, tmp_path, finished=False)
    check_gaps(lost[:100], 1000, 0.0, tmp_path, finished=False)
    with pytest.raises(SlideError, match=r"101 of 1000 tiles of tissue cannot be read so far: .* and 81 more"):
        check_gaps(lost, 1000, 0.0, tmp_path, finished=False)
    with pytest.raises(SlideError, match=r"--max-unreadable 0\.11$"):
        check_gaps(lost, 1000, 0.1, tmp_path, finished=True)


def test_tissue_that_could_not_be_looked_for_is_looked_at(bundle, tmp_path):
    # One level only: the tissue is sought in the very tiles that the network sees.
    path = good(tmp_path / "slide.svs", compression="jpeg", downsamples=(1,))
    corrupt_tile(path, 6)
    outcome = run_toy(path, tmp_path / "run", bundle, tissue="auto", max_unreadable=1.0)
    assert_gaps(tmp_path / "run", outcome, tiles_of(6))


def test_a_bad_tile_of_a_low_level_costs_nothing(bundle, tmp_path):
    path = good(tmp_path / "slide.svs", compression="jpeg")
    corrupt_tile(path, 0, level=1)
    outcome = run_toy(path, tmp_path / "run", bundle)
    assert inspect_run(tmp_path / "run").state is State.COMPLETE
    assert outcome.summary["tiles"]["unreadable"] == 0
    assert outcome.summary["nuclei"] > 100


def test_a9_a_tile_that_was_never_written_is_background_and_counted(bundle, tmp_path):
    path = good(tmp_path / "slide.svs")
    drop_tile(path, 6)
    outcomes = [run_toy(path, tmp_path / reader, bundle, reader=reader, tissue="none") for reader in BOTH]
    for outcome in outcomes:
        assert outcome.summary["tiles"]["missing"] == 16
        assert outcome.summary["tiles"]["unreadable"] == 0
    assert {inspect_run(tmp_path / reader).state for reader in BOTH} == {State.COMPLETE}
    masks = [
        zarr.open_array(tmp_path / reader / "masks.ome.zarr" / "labels/nuclei/0", mode="r")[:] for reader in BOTH
    ]
    assert np.array_equal(*masks)
    assert not masks[0][260:508, 260:508].any()
    assert "not written by the scanner" in (tmp_path / "openslide" / "report.html").read_text()


@pytest.mark.parametrize("name", ["Aborting", "Hungry"])
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no signals")
def test_a24_a_tile_that_kills_its_reader_is_a_gap(name, bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "faulty", f"faulty_readers:{name}")
    path = good(tmp_path / "slide.svs")
    outcome = run_toy(path, tmp_path / "run", bundle, reader="faulty", tissue="none", max_unreadable=1.0)
    assert_gaps(tmp_path / "run", outcome, tiles_of(0))


# -- what must work -------------------------------------------------------------------------------------------


def test_a10_transparent_black_is_no_nucleus(bundle, tmp_path):
    rgba = np.dstack([RGB, np.full(SIZE[::-1], 255, np.uint8)])
    rgba[100:400, 200:600] = 0
    path = write_slide(tmp_path / "slide.tif", rgba, extrasamples=["unassalpha"], downsamples=(1,))
    run_toy(path, tmp_path / "run", bundle, tissue="none", mpp=0.25)
    nuclei = zarr.open_array(tmp_path / "run" / "masks.ome.zarr" / "labels/nuclei/0", mode="r")[:]
    assert not nuclei[104:396, 204:596].any()
    assert nuclei[420:].any()


@pytest.mark.parametrize("size", [(1, 1), (255, 30), (65, 257)])
def test_a12_tiny_slides_complete(size, bundle, tmp_path):
    path = write_slide(tmp_path / "slide.svs", paint_tissue(size).rgb, downsamples=(1,))
    run_toy(path, tmp_path / "run", bundle, tissue="none")
    shape = zarr.open_array(tmp_path / "run" / "masks.ome.zarr" / "labels/nuclei/0", mode="r").shape
    assert shape == size[::-1]


def test_a13_a_blank_slide_completes_with_a_reason(bundle, tmp_path):
    path = write_slide(tmp_path / "slide.svs", np.full((700, 1100, 3), 243, np.uint8))
    outcome = run_toy(path, tmp_path / "run", bundle)
    assert inspect_run(tmp_path / "run").state is State.COMPLETE
    assert outcome.summary["nuclei"] == 0
    assert outcome.summary["tiles"]["blank"] == outcome.summary["tiles"]["grid"]
    assert any("no tissue was found" in warning for warning in outcome.summary["warnings"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measured as Linux counts")
def test_a14_one_huge_level_needs_little_memory(bundle, tmp_path):
    damaged.huge(tmp_path / "slide.tif", 20_480)
    assert (tmp_path / "slide.tif").stat().st_size < 300_000
    command = (
        "from pathlib import Path; from wsiseg.run import RunSettings, plan_run, slide_of;"
        f"settings = RunSettings(slide=Path('slide.tif'), model={str(bundle)!r}, mpp=0.25);"
        "plan = plan_run(settings, slide_of(settings));"
        "assert plan.states.size == 320**2, plan.states.size"
    )
    status, most = measured(command, tmp_path)
    assert status == 0
    assert most < 700_000


def test_a17_a_broken_colour_profile_changes_nothing(tmp_path):
    slide = open_slide(good(tmp_path / "slide.svs", iccprofile=b"no profile"))
    assert np.array_equal(slide.read_region((0, 0), 0, SIZE), RGB)
    slide.close()


def test_a25_a_slide_that_is_replaced_is_not_mixed_with_the_old_one(bundle, tmp_path):
    path, out = good(tmp_path / "slide.svs"), tmp_path / "run"

    class Replacing(ColourPredictor):
        def predict(self, windows):
            if self.calls == 0:
                write_slide(path.with_name("other.svs"), RGB[::-1].copy()).replace(path)
            return super().predict(windows)

    with pytest.raises(OutputError, match=r"E-SLIDE-CHANGED.*while it was read") as refused:
        run_toy(path, out, bundle, tissue="none", predictor=Replacing())
    assert refused.value.exit_status == 5
    with pytest.raises(OutputError, match=r"E-SLIDE-CHANGED.*another slide"):
        run_toy(path, out, bundle, tissue="none")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want names to be text")
def test_a26_a_name_that_is_no_text_is_opened(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe \xe4.svs"))
    good(path)
    slide = open_slide(path)
    assert slide.info.path == path
    assert np.array_equal(slide.read_region((0, 0), 0, (9, 9)), RGB[:9, :9])
    slide.close()


def test_a30_nothing_private_leaves_the_slide(bundle, tmp_path):
    folder = tmp_path / "Jane Doe 1954"
    folder.mkdir()
    text = "Aperio Image Library|AppMag = 40|MPP = 0.25|Title = DOE^JANE|Barcode = X4711"
    path = write_slide(folder / "slide.svs", RGB, description=text)
    run_toy(path, tmp_path / "run", bundle)
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            for secret in (b"DOE", b"X4711", b"Jane", os.fsencode(tmp_path)):
                assert secret not in data, (file.name, secret)


def test_records_are_json_of_the_expected_kind(bundle, tmp_path):
    path = good(tmp_path / "slide.svs", compression="jpeg")
    corrupt_tile(path, 14)
    run_toy(path, tmp_path / "run", bundle, tissue="none", max_unreadable=1.0)
    summary = orjson.loads((tmp_path / "run" / "summary.json").read_bytes())
    assert summary["unreadable_tiles"][0] == {
        "row": 8,
        "column": 16,
        "x": 1024,
        "y": 512,
        "width": 64,
        "height": 64,
    }
    assert summary["unreadable_tiles"][-1]["width"] == 1100 - 17 * 64
    assert orjson.loads((tmp_path / "run" / "COMPLETE.json").read_bytes())["gaps"] == len(tiles_of(14))


@pytest.mark.parametrize("reader", BOTH)
def test_a22_mutated_slides_end_as_they_may(reader, tmp_path):
    # The short tier of `make faults`, which mutates two thousand.
    outcomes = mutations(tmp_path, reader, 20)
    assert [outcome.problem for outcome in outcomes if outcome.problem] == []
    ends = {outcome.end for outcome in outcomes}
    assert any(end.startswith("E-") for end in ends)
    assert ends & {"same", "gaps"}
