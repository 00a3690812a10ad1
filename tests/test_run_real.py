"""Real slides through the shipped model, judged by other people's readers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from wsiseg.cli import _status
from wsiseg.geometry import Box, Frame
from wsiseg.run import RunSettings, run_slide
from wsiseg.slides import open_slide, read_box

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real_run(real_slides, tmp_path_factory):
    """The sample slide, as `make demo` runs it."""
    out = tmp_path_factory.mktemp("real") / "CMU-1"
    run_slide(RunSettings(slide=real_slides / "CMU-1-Small-Region.svs"), out)
    return out


def test_sample_slide_has_as_many_nuclei_as_a_person_would_count(real_run):
    """Skin: dense epidermis and loose dermis. A count by eye on fields gives 3,000 to 5,000 per mm2."""
    summary = json.loads((real_run / "summary.json").read_text())
    assert 2000 < summary["nuclei_per_mm2"] < 6000
    assert 10 < summary["area_um2"]["median"] < 60


def test_nuclei_are_darker_and_bluer_than_what_is_around_them(real_run, real_slides):
    """They sit on nuclei: the pixels under centroids against the slide as a whole."""
    slide = open_slide(real_slides / "CMU-1-Small-Region.svs")
    rgb = read_box(slide, Frame(2220, 2967), Box(0, 0, 2220, 2967)).astype(float)
    slide.close()
    table = pq.read_table(real_run / "nuclei.parquet").to_pydict()
    x, y = (np.floor(table[f"centroid_{axis}"]).astype(int) for axis in "xy")
    under = rgb[y, x]
    tissue = rgb[rgb.min(2) < 215]
    assert np.median(under[:, 0]) < np.median(tissue[:, 0]) - 40  # haematoxylin absorbs red
    shifted = rgb[np.minimum(y + 14, 2966), x]
    assert np.median(under[:, 0]) < np.median(shifted[:, 0]) - 30


def test_geojson_keeps_the_rules_of_qupath(real_run, shared):
    sys.path.insert(0, str(shared / "tools"))
    try:
        from qupath_rules import check
    finally:
        sys.path.pop(0)
    must, should, count = check(str(real_run / "nuclei.geojson.gz"))
    assert (must, should) == ({}, {})
    assert count == json.loads((real_run / "summary.json").read_text())["nuclei"]


def test_store_is_valid_ngff(real_run):
    command = [Path(sys.executable).with_name("ome-zarr-models"), "validate", real_run / "masks.ome.zarr"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_polygons_rasterise_back_to_their_labels(real_run):
    """On the sample: at level 0 a pixel is 2 x 2 of the mask, so compare areas and places."""
    import zarr

    table = pq.read_table(real_run / "nuclei.parquet").to_pydict()
    labels = zarr.open_array(str(real_run / "masks.ome.zarr" / "labels" / "nuclei" / "0"), mode="r")[:]
    areas = np.bincount(labels.ravel())
    polygons = shapely.from_wkb(table["geometry"])
    assert shapely.is_valid(polygons).all()
    of_polygon = shapely.area(polygons) * (0.499 / 0.25) ** 2
    ratio = of_polygon / areas[table["id"]]
    assert abs(ratio.sum() / len(ratio) - 1) < 0.02
    assert np.quantile(np.abs(ratio - 1), 0.99) < 0.12


@pytest.mark.parametrize(
    ("name", "options", "code", "status"),
    [
        ("tcga-cr-7395-01a-01-ts1.svs", [], "E-MPP-MISSING", 3),
        ("fluorescence-dapi.ndpi", [], "E-SLIDE-DARK", 3),
        ("OS-1-detail.ome.tif", [], "E-SLIDE-FORMAT", 3),
    ],
)
def test_slides_that_need_a_word_from_the_user(name, options, code, status, real_slides, tmp_path, capsys):
    assert _status(["run", str(real_slides / name), "-o", str(tmp_path / "out"), *options]) == status
    printed = capsys.readouterr().err
    assert printed.startswith(f"wsiseg: error[{code}]")
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_ome_tiff_through_the_other_reader(real_slides, tmp_path):
    out = tmp_path / "out"
    assert _status(["run", str(real_slides / "OS-1-detail.ome.tif"), "--reader", "tiffslide", "-o", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["slide"]["reader"] == "tiffslide"
    assert summary["nuclei"] > 50


def test_ngff_04_is_valid_too(real_slides, tmp_path):
    out = tmp_path / "out"
    arguments = ["--reader", "tiffslide", "--ngff", "0.4", "-o", str(out)]
    assert _status(["run", str(real_slides / "OS-1-detail.ome.tif"), *arguments]) == 0
    command = [Path(sys.executable).with_name("ome-zarr-models"), "validate", out / "masks.ome.zarr"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
