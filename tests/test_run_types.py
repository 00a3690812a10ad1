"""A run of several classes: each nucleus is what it was painted as, everywhere, and the counts are those."""

from __future__ import annotations

import csv
import gzip
import html
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from toy_cohort import run_toys
from typed_toy import CLASSES, SIZE, all_maps

import wsiseg
from wsiseg.cli import _status
from wsiseg.export.omezarr import read_classes
from wsiseg.geometry import Frame
from wsiseg.instances import Decoding, Planes, decode_block
from wsiseg.models.bundle import load_bundle
from wsiseg.run.classes import ClassTally
from wsiseg.stains import as_planes, stains_of

COLUMNS = ["probability_tumour_or_epithelial", "probability_lymphocyte", "probability_stromal"]


@pytest.fixture(scope="module")
def table(typed_run):
    return pq.read_table(typed_run.path / "nuclei.parquet")


@pytest.fixture(scope="module")
def summary(typed_run):
    return json.loads((typed_run.path / "summary.json").read_text())


def truth_of(typed_run, table):
    """The place of the class that each found nucleus was painted with."""
    x, y = (np.floor(table[name].to_numpy()).astype(int) for name in ("centroid_x", "centroid_y"))
    return typed_run.places[typed_run.painting.labels[y, x].astype(int) - 1]


def test_each_nucleus_is_what_it_was_painted_as(typed_run, table):
    truth = truth_of(typed_run, table)
    assert table["class"].to_pylist() == [CLASSES[place].name for place in truth]
    assert table["class_value"].to_pylist() == [CLASSES[place].value for place in truth]
    assert np.bincount(truth).min() > 50
    probability = np.stack([table[name].to_numpy() for name in COLUMNS], axis=1)
    np.testing.assert_array_equal(probability.argmax(axis=1), truth)


def test_the_run_tells_what_one_pass_over_the_whole_slide_tells(typed_run, table):
    rgb, frame = typed_run.painting.rgb, Frame(*SIZE)
    maps = all_maps(rgb)
    bundle = load_bundle(typed_run.bundle)
    decoding = Decoding(bundle.head().decode, frame, frame.box, bundle.spec.mpp, (3, 1, 2))
    planes = Planes(maps, as_planes(stains_of(rgb, maps[0]), maps[0]))
    expected = decode_block(planes, frame.box, frame.box, decoding).nuclei
    here = np.lexsort((table["anchor_y"].to_numpy(), table["anchor_x"].to_numpy()))
    there = np.lexsort((expected.anchor[:, 1], expected.anchor[:, 0]))
    probability = np.stack([table[name].to_numpy() for name in COLUMNS], axis=1)
    np.testing.assert_array_equal(probability[here], expected.class_probability[there])
    np.testing.assert_array_equal(table["class_value"].to_numpy()[here], expected.class_value[there])


def test_the_mask_has_the_values_and_colours_of_all_classes(typed_run, table):
    masks = typed_run.path / "masks.ome.zarr"
    assert [(one.value, one.name, one.rgb) for one in read_classes(masks)] == [
        (one.value, one.name, one.color) for one in CLASSES
    ]
    classes, nuclei = (
        zarr.open_array(str(masks / "labels" / name / "0"), mode="r")[:] for name in ("classes", "nuclei")
    )
    value = np.append(0, table["class_value"].to_numpy())
    np.testing.assert_array_equal(classes, value[nuclei])


def test_the_summary_counts_each_class(typed_run, table, summary):
    counts = dict(zip(*np.unique(table["class"].to_pylist(), return_counts=True), strict=True))
    found = summary["classes"]
    assert [(one["name"], one["value"], tuple(one["color"])) for one in found] == [
        (one.name, one.value, one.color) for one in CLASSES
    ]
    for place, one in enumerate(found):
        assert one["nuclei"] == counts[one["name"]]
        assert one["share"] == pytest.approx(one["nuclei"] / len(table), abs=1e-4)
        assert one["nuclei_per_mm2"] == pytest.approx(one["nuclei"] / summary["tissue_mm2"], rel=1e-3)
        own = table[COLUMNS[place]].to_numpy()[np.array(table["class"].to_pylist()) == one["name"]]
        assert one["mean_probability"] == pytest.approx(own.mean(), abs=1e-3)
    both = counts["lymphocyte"] + counts["stromal"]
    assert summary["stromal_lymphocyte_share"] == pytest.approx(counts["lymphocyte"] / both, abs=1e-4)


def test_qupath_gets_class_colour_and_probabilities(typed_run, table):
    features = json.loads(gzip.decompress((typed_run.path / "nuclei.geojson.gz").read_bytes()))["features"]
    looks = {one.name: list(one.color) for one in CLASSES}
    for index, feature in enumerate(features):
        name = table["class"][index].as_py()
        assert feature["properties"]["classification"] == {"name": name, "color": looks[name]}
        for one, column in zip(CLASSES, COLUMNS, strict=True):
            found = feature["properties"]["measurements"][f"Probability: {one.name}"]
            assert found == pytest.approx(table[column][index].as_py(), abs=1e-4)


@pytest.mark.parametrize("to", ["geojson", "geoparquet"])
def test_what_a_run_wrote_is_what_export_writes(typed_run, to, tmp_path):
    assert _status(["export", str(typed_run.path), "--to", to, "-o", str(tmp_path / "nuclei")]) == 0
    (written,) = tmp_path.iterdir()
    assert written.read_bytes() == (typed_run.path / written.name).read_bytes()


def test_other_programs_get_the_same_classes(typed_run, table, tmp_path):
    for to in ("csv", "dsa", "ome-tiff"):
        assert _status(["export", str(typed_run.path), "--to", to, "-o", str(tmp_path / "out")]) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == table["class"].to_pylist()
    for column in COLUMNS:
        np.testing.assert_array_equal(
            np.array([row[column] for row in rows], np.float32), table[column].to_numpy()
        )
    elements = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["elements"]
    assert [element["group"] for element in elements] == table["class"].to_pylist()
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        about = html.unescape(tiff.ome_metadata)
        counts = np.bincount(tiff.series[0].levels[0].asarray().ravel(), minlength=4)[1:]
    for one in CLASSES:
        looks = {"value": one.value, "name": one.name, "color": list(one.color)}
        assert json.dumps(looks, separators=(",", ":")) in about
    assert counts.min() > 0


def test_python_gets_the_classes(typed_run, table):
    pytest.importorskip("geopandas")
    results = wsiseg.open(typed_run.path)
    assert results.classes == CLASSES
    assert results.nuclei["class"].tolist() == table["class"].to_pylist()
    np.testing.assert_allclose(results.nuclei[COLUMNS].sum(axis=1), 1, atol=1e-6)
    picture = np.asarray(results.thumbnail(2000)).astype(int)
    for one in CLASSES:
        assert (np.abs(picture - one.color).sum(axis=2) < 60).sum() > 500


@pytest.mark.slow
def test_a_cohort_has_the_figures_of_each_slide(typed_run, summary, tmp_path):
    (row,) = run_toys([typed_run.slide], tmp_path / "out", typed_run.bundle, make="typed_toy:network")
    found = {one["name"]: (one["nuclei"], one["nuclei_per_mm2"]) for one in summary["classes"]}
    assert {one.name: (one.nuclei, one.nuclei_per_mm2) for one in row.classes} == found
    (line,) = pq.read_table(tmp_path / "out" / "cohort.parquet").to_pylist()
    assert (line["class_lymphocyte_nuclei"], line["class_lymphocyte_per_mm2"]) == found["lymphocyte"]
    assert line["stromal_lymphocyte_share"] == summary["stromal_lymphocyte_share"]
    assert "no clinical TIL score" in (tmp_path / "out" / "cohort.html").read_text(encoding="utf-8")


def test_the_end_of_a_run_names_the_classes(typed_run, summary, capsys):
    from wsiseg.cli.display import print_outcome
    from wsiseg.run.pipeline import Outcome

    print_outcome(Outcome(typed_run.path, already_complete=True, summary=summary, performance={}))
    first = summary["classes"][0]
    assert (
        f"tumour or epithelial {first['nuclei']:,} ({100 * first['share']:.0f} %), lymphocyte"
        in capsys.readouterr().out
    )


def test_one_class_has_nothing_to_count_and_two_others_no_share():
    assert ClassTally(CLASSES[:1]).summary(1.0) == {}
    others = ClassTally([replace(one, name=f"not {one.name}") for one in CLASSES]).summary(0.0)
    assert others.keys() == {"classes"}
    assert {one["nuclei_per_mm2"] for one in others["classes"]} == {None}
    assert ClassTally(CLASSES).summary(1.0)["stromal_lymphocyte_share"] is None
