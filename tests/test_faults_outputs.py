"""Group F: what leaves wsiseg is valid, finite, bounded and the same everywhere, and runs nothing anywhere."""

from __future__ import annotations

import csv
import getpass
import gzip
import json
import os
import socket
import sys
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from hypothesis import HealthCheck, given, settings
from label_fields import blobs, components, decode_whole, joined, label_images
from strict_html import StrictPage
from synthetic import paint_tissue, scattered, write_slide
from toy import ColourPredictor, write_bundle

from wsiseg import fsio
from wsiseg.cohort.table import CohortRow, write_tables
from wsiseg.errors import InternalError, OutputError, ResourceError, printable
from wsiseg.export import EXPORTERS, ExportHeader, load_exporter
from wsiseg.export.omezarr import mask_arrays
from wsiseg.models.bundle import ClassSpec, load_bundle
from wsiseg.nuclei import MEASUREMENTS
from wsiseg.run.folder import DELIVERABLES

HEADER = ExportHeader("a slide.svs", "fingerprint", 0.25, (0, 0), (ClassSpec(1, "nucleus", (200, 30, 30)),))
HOSTILE = '=cmd()<img src=x onerror=alert(1)>"&\x1b[31m\udcff.svs' if sys.platform == "linux" else "=cmd()&.svs"
"""A slide's name: a formula, a tag, a quote, a terminal's command, and a byte that is no text."""


@pytest.fixture(scope="module")
def nuclei():
    return decode_whole(blobs(80, 80)).nuclei


def features_of(nuclei, folder):
    (path,) = load_exporter("geojson")([nuclei], len(nuclei), folder / "nuclei", HEADER)
    data = gzip.decompress(fsio.partial_name(path).read_bytes())
    return json.loads(data, parse_constant=pytest.fail)["features"]


# -- F1: geometry ------------------------------------------------------------------------------------------

PICTURES = {
    "one pixel": ["#"],
    "two pixels": ["##"],
    "a column": ["#", "#", "#", "#"],
    "pixels that touch at corners": ["#.#.", ".#.#", "#.#.", ".#.#"],
    "an eight": ["###..", "#.#..", "#####", "..#.#", "..###"],
    "a ring": ["####", "#..#", "#..#", "####"],
    "a ring in a ring": ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"],
    "a hole at a corner": [".###", "##.#", "#.##", "###."],
    "a comb": ["#.#.#.#", "#.#.#.#", "#######"],
    "a spiral": ["######", ".....#", "####.#", "#..#.#", "#....#", "######"],
    "a spike": ["...#...", "...#...", "#######", "...#...", "...#..."],
    "a cross of single pixels": [".#.", "###", ".#."],
    "a bow-tie": ["##...##", "###.###", "#######", "###.###", "##...##"],
    "the whole field": ["#####"] * 5,
}


def picture(rows, margin=0):
    mask = np.pad([[char == "#" for char in row] for row in rows], margin)
    return components(np.where(mask, 1, 0), 0)


def check_ring(feature):
    """What every reader of polygons needs."""
    geometry = feature["geometry"]
    assert geometry["type"] == "Polygon"
    (ring,) = geometry["coordinates"]
    assert ring[0] == ring[-1]
    assert len(ring) >= 4
    assert all(one != other for one, other in pairwise(ring))
    assert all(np.isfinite(value) and round(value, 2) == value for point in ring for value in point)
    shape = shapely.geometry.shape(geometry)
    assert shape.is_valid
    assert shape.area > 0
    assert shape.exterior.is_ccw
    return shape


@pytest.mark.parametrize("margin", [0, 3])
@pytest.mark.parametrize("name", PICTURES)
def test_ugly_masks_give_valid_polygons(name, margin, tmp_path):
    labels = picture(PICTURES[name], margin)
    result = decode_whole(labels)
    shapes = [check_ring(feature) for feature in features_of(result.nuclei, tmp_path)]
    assert len(shapes) == len(result.nuclei) == len(np.unique(labels[labels > 0]))
    rows, columns = np.nonzero(labels)
    covered = np.zeros(len(rows), bool)
    for shape in shapes:
        covered |= shapely.intersects_xy(shape.buffer(0.01), columns + 0.5, rows + 0.5)
    assert covered.all()  # no pixel of a nucleus is left out; holes are filled


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=label_images())
def test_any_mask_gives_valid_polygons(labels, tmp_path):
    result = decode_whole(labels)
    shapes = [check_ring(feature) for feature in features_of(result.nuclei, tmp_path)]
    assert len(shapes) == len(result.nuclei)


# -- F2: numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("column", [*MEASUREMENTS, "centroid_x", "centroid_y"])
def test_no_number_that_is_not_finite_leaves(column, value, exporter, nuclei, tmp_path):
    bad = getattr(nuclei, column).copy()
    bad[3] = value
    spoiled = replace(nuclei, **{column: bad})
    with pytest.raises(InternalError) as refused:
        load_exporter(exporter)([nuclei, spoiled], 2 * len(nuclei), tmp_path / "nuclei", HEADER)
    assert (refused.value.code, refused.value.exit_status) == ("E-NONFINITE", 1)
    assert refused.value.what == f"the {column} of 1 nuclei is not a finite number"
    assert refused.value.where == f"nucleus {nuclei.id[3]}"
    assert {path.suffix for path in tmp_path.iterdir()} <= {fsio.PARTIAL}


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(
    "polygon", [shapely.Polygon(), shapely.box(0, 0, float("inf"), 1)], ids=["empty", "infinite"]
)
def test_no_polygon_without_an_end_leaves(polygon, exporter, nuclei, tmp_path):
    polygons = nuclei.polygon.copy()
    polygons[0] = polygon
    with pytest.raises(InternalError, match=r"E-NONFINITE.*the polygon of 1 nuclei"):
        load_exporter(exporter)([replace(nuclei, polygon=polygons)], len(nuclei), tmp_path / "nuclei", HEADER)


# -- F3: memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_memory_does_not_grow_with_the_nuclei(exporter, nuclei, tmp_path):
    batch = joined([replace(nuclei, runs=nuclei.runs[:0])] * (250 // len(nuclei) + 1)).take(np.arange(250))
    peaks = []
    for number in (8, 40):
        batches = (batch.renumbered(250 * index + 1) for index in range(number))
        tracemalloc.start()
        load_exporter(exporter)(batches, 250 * number, tmp_path / f"nuclei{number}", HEADER)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 2**20, peaks


# -- F4, F5, F7, F8, E7: a whole run of a slide with a hostile name ------------------------------------------


class Witness:
    """Looks into the run directory whenever something has moved."""

    def __init__(self, out):
        self.out, self.seen, self.looks = out, set(), 0

    def look(self, *_):
        self.looks += 1
        self.seen |= {name for name in (*DELIVERABLES, "COMPLETE.json") if (self.out / name).exists()}

    stage = advance = nuclei = note = look


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from wsiseg.run import RunSettings, run_slide

    home = tmp_path_factory.mktemp("home")
    painting = paint_tissue((1090, 700), scattered((1090, 700), spacing=64))
    try:
        slide = write_slide(home / HOSTILE, painting.rgb)
    except OSError:
        pytest.skip("the file system refuses such names")
    bundle = write_bundle(home / "bundle")
    out, witness = home / "out", Witness(home / "out")
    chosen = RunSettings(slide=slide, model=str(bundle), tissue="none")
    run_slide(chosen, out, progress=witness, make_predictor=lambda *_: ColourPredictor())
    return out, witness, load_bundle(bundle)


def content_of(path):
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def files_of(out):
    return [path for path in out.rglob("*") if path.is_file() and path.name != "LOCK"]


def test_nothing_has_its_final_name_while_a_run_works(run):
    _, witness, _ = run
    assert witness.looks > 20
    assert witness.seen == set()


def test_levels_are_halves_of_each_other_down_to_the_last_pixel(run):
    out, _, _ = run
    for levels in (mask_arrays(out / "masks.ome.zarr").classes, mask_arrays(out / "masks.ome.zarr").nuclei):
        arrays = [np.asarray(zarr.open(level, mode="r")) for level in levels]
        assert arrays[0].any()
        assert len(arrays) > 1
        for finer, coarser in pairwise(arrays):
            assert np.array_equal(coarser, finer[::2, ::2])


def test_table_polygons_and_mask_have_the_same_nuclei(run):
    out, _, _ = run
    ids = set(pq.read_table(out / "nuclei.parquet")["id"].to_pylist())
    features = json.loads(content_of(out / "nuclei.geojson.gz"))["features"]
    mask = np.asarray(zarr.open(mask_arrays(out / "masks.ome.zarr").nuclei[0], mode="r"))
    assert len(features) == len(ids) > 50
    assert set(np.unique(mask).tolist()) - {0} == ids
    for feature in features:
        check_ring(feature)


def test_no_output_names_the_machine_the_user_or_a_path(run):
    out, _, _ = run
    private = [str(out.parent), os.fspath(out.parent.parent), socket.gethostname()]
    private += [getpass.getuser()] if getpass.getuser() not in ("root", "user") else []
    for file in files_of(out):
        content = content_of(file)
        assert [word for word in private if len(word) > 4 and word.encode() in content] == [], file.name


@pytest.mark.parametrize(
    "name", ["run.json", "summary.json", "report.html", "nuclei.geojson.gz", "nuclei.parquet"]
)
def test_every_output_says_which_bundle_made_it(name, run):
    out, _, bundle = run
    assert bundle.sha256.encode() in content_of(out / name)
    root = json.loads((out / "masks.ome.zarr" / "zarr.json").read_text())
    assert root["attributes"]["wsiseg"]["model_sha256"] == bundle.sha256


def test_a_hostile_name_stays_text_in_every_output(run):
    out, _, _ = run
    plain = HOSTILE.replace("\udcff", "?")
    assert json.loads((out / "summary.json").read_bytes())["slide"]["name"] == plain
    assert json.loads((out / "run.json").read_bytes())["slide"]["name"] == plain
    assert json.loads(content_of(out / "nuclei.geojson.gz"))["wsiseg"]["slide"] == plain
    page = StrictPage((out / "report.html").read_text("utf-8"))
    assert plain in page.texts
    assert {tag for tag, attrs in page.tags if "onerror" in attrs or tag == "script"} == set()
    for file in files_of(out):
        if file.suffix in (".json", ".html"):
            file.read_text("utf-8")


# -- F8: tables and terminals --------------------------------------------------------------------------------

FORMULAS = {
    "=cmd()": "'=cmd()",
    "+1+1": "'+1+1",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    '=HYPERLINK("http://x")': '\'=HYPERLINK("http://x")',
    "=1\n+2": r"'=1\n+2",
    "\tx": r"\tx",
    "a\rb": r"a\rb",
    "a\n=b": r"a\n=b",
    "\x1b[2J": r"\x1b[2J",
}


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_computes_nothing_of_ours(text, tmp_path):
    write_tables(tmp_path, [CohortRow("id", text, "failed", "E-BUG", text, folder=text)])
    with open(tmp_path / "cohort.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["slide"] == row["message"] == row["folder"] == FORMULAS[text]
    assert pq.read_table(tmp_path / "cohort.parquet")["slide"].to_pylist() == [text]


def test_plain_texts_and_negative_numbers_stay_what_they_are(tmp_path):
    write_tables(tmp_path, [CohortRow("id", "a=b, c.svs", "complete", mpp=-0.5)])
    with open(tmp_path / "cohort.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["slide"], row["mpp"]) == ("a=b, c.svs", "-0.5")


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J",
        "\x1b]0;title\x07",
        "a\rb",
        "a\nb",
        "\x9b31m",
        "\u202egnp.exe",
        "\u2028",
        "\udcff",
        "\x00",
        "\x7f",
    ],
)
def test_what_is_printed_moves_no_cursor(text):
    shown = printable(f"<{text}>")
    assert shown.isprintable()
    shown.encode("utf-8")
    assert str(OutputError("E-OUT-FOREIGN", text, where=text, fix=text)).isprintable()


@pytest.mark.parametrize("text", ["ä", "日本", "a b", "C:\\x", "'\"", "µm²"])
def test_plain_text_is_printed_as_it_is(text):
    assert printable(text) == text


def test_the_end_of_a_run_is_told_without_the_commands_of_its_name(run, capsys):
    from wsiseg.cli.display import print_outcome
    from wsiseg.run.pipeline import Outcome

    out, _, _ = run
    hostile = out.parent / "\x1b[2J\udcff"
    hostile.symlink_to(out)
    print_outcome(Outcome(hostile, True, json.loads((out / "summary.json").read_bytes()), {}))
    shown = capsys.readouterr().out
    assert r"\x1b[2J\udcff" in shown
    assert all(line.isprintable() for line in shown.splitlines())


def test_a_usage_error_repeats_no_command(capsys):
    from wsiseg.cli import _status

    assert _status(["\x1b[2J\udcff"]) == 2
    assert r"\x1b[2J\udcff" in capsys.readouterr().err


def test_an_interrupted_export_leaves_no_final_name(nuclei, tmp_path):
    def batches():
        yield nuclei
        raise OSError(28, "No space left on device")

    for exporter in EXPORTERS:
        with pytest.raises((OSError, ResourceError), match="No space left"):
            load_exporter(exporter)(batches(), 2 * len(nuclei), tmp_path / "nuclei", HEADER)
    assert {path.suffix for path in tmp_path.iterdir()} <= {fsio.PARTIAL}
