"""`wsiseg export`: every format of a finished run, read by somebody else's code, holds the same nuclei."""

from __future__ import annotations

import csv
import gzip
import html
import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass

import bounded_reader
import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile
import zarr
from strict_html import StrictPage
from synthetic import corrupt_tile, paint_tissue, scattered, write_slide
from toy import TILE_PX, describe_bundle, run_toy, toy_spec

from wsiseg.cli import _status
from wsiseg.export import FORMATS
from wsiseg.run import State, inspect_run
from wsiseg.run.fields import FIELD_TILES, OF_EACH
from wsiseg.run.finished import open_finished
from wsiseg.slides import READERS

SIZE = (1090, 700)
POLYGONS = ("geojson", "geoparquet", "flatgeobuf", "dsa", "spatialdata")
"""Formats that have outlines."""
CAPTION = (
    r"([\d,]+) nuclei per mm² of picture \(([\d,]+) in all\), mean probability ([\d.]+); "
    r"centre at x ([\d,]+), y ([\d,]+)"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a slide and a bundle."""
    folder = tmp_path_factory.mktemp("home")
    write_slide(folder / "a slide.svs", paint_tissue(SIZE, scattered(SIZE, spacing=64)).rgb)
    describe_bundle(folder / "bundle", toy_spec())
    return folder


@pytest.fixture(scope="module")
def run(home):
    run_toy(home / "a slide.svs", home / "run", home / "bundle", tissue="none")
    return home / "run"


@pytest.fixture(scope="module")
def whole(run):
    """What the run's own table says."""
    assert len(list(open_finished(run).batches())) > 1  # blocks
    return Content.of_nuclei(open_finished(run).batches())


@dataclass(frozen=True)
class Content:
    """What every format must agree on."""

    classes: Counter
    """Nuclei by the name of their class."""
    area_um2: float
    """Of all nuclei: of their pixels."""
    polygons: np.ndarray | None = None
    """Outlines in level-0 px, in the order of their ids, where the format has them."""

    @classmethod
    def of_nuclei(cls, batches):
        tables = list(batches)
        polygons = np.concatenate([table.polygon for table in tables])
        area = sum(table.area_um2.astype(float).sum() for table in tables)
        return cls(Counter({"Nucleus": len(polygons)}), area, polygons)


def export(run, to, file, *more):
    assert _status(["export", str(run), "--to", to, "-o", str(file), *more]) == 0
    (written,) = (path for path in file.parent.iterdir() if path.name.startswith(file.name))
    return written


def read_geojson(path, run):
    features = json.loads(gzip.decompress(path.read_bytes()))["features"]
    found = [feature["properties"] for feature in features]
    return Content(
        Counter(one["classification"]["name"] for one in found),
        sum(one["measurements"]["Area \u00b5m^2"] for one in found),
        np.array([shapely.geometry.shape(feature["geometry"]) for feature in features]),
    )


def read_geoparquet(path, run):
    frame = pytest.importorskip("geopandas").read_parquet(path)
    return Content(Counter(frame["class"]), frame["area_um2"].astype(float).sum(), frame.geometry.to_numpy())


def read_flatgeobuf(path, run):
    frame = pytest.importorskip("geopandas").read_file(path).sort_values("id")
    assert frame.crs is None
    assert frame["area_um2"].dtype == np.float32
    return Content(Counter(frame["class"]), frame["area_um2"].astype(float).sum(), frame.geometry.to_numpy())


def read_csv(path, run):
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, len(rows) + 1))
    return Content(Counter(row["class"] for row in rows), sum(float(row["area_um2"]) for row in rows))


def read_dsa(path, run):
    elements = json.loads(path.read_text(encoding="utf-8"))["elements"]
    points = [np.array(element["points"])[:, :2] for element in elements]
    return Content(
        Counter(element["label"]["value"] for element in elements),
        sum(element["user"]["area_um2"] for element in elements),
        np.array([shapely.Polygon(ring) for ring in points]),
    )


def described(tiff):
    """What the first image of an OME-TIFF says of itself."""
    text = re.search("<Description>(.*?)</Description>", tiff.ome_metadata)[1]
    return json.loads(html.unescape(text))


def read_ome_tiff(path, run):
    with tifffile.TiffFile(path) as tiff:
        about = described(tiff)
        classes, labels = (series.asarray() for series in tiff.series)
    names = {one["value"]: one["name"] for one in about["classes"]}
    _, first = np.unique(labels, return_index=True)
    found = Counter(names.get(value, "background") for value in classes.ravel()[first].tolist())
    assert found.pop("background") == 1
    return Content(found, np.count_nonzero(classes) * about["frame"]["mpp"] ** 2)


def read_spatialdata(path, run):
    spatialdata = pytest.importorskip("spatialdata")
    data = spatialdata.read_zarr(path)
    table, shapes = data.tables["measurements"], data.shapes["nuclei"]
    assert data.attrs["wsiseg"]["coords"] == "level 0"
    assert shapes.index.tolist() == table.obs["id"].tolist() == list(range(1, len(shapes) + 1))
    assert_masks_are_where_outlines_are(spatialdata, data)
    area = table[:, "area_um2"].X.astype(float).sum()
    return Content(Counter(table.obs["class"]), area, shapes.geometry.to_numpy())


def assert_masks_are_where_outlines_are(spatialdata, data):
    """Every mask is the store's, and its pixels lie in the outlines in both coordinate systems."""
    from spatialdata.transformations import get_transformation

    labels = data.labels["labels_nuclei"]["scale0"].image
    assert len(data.labels["labels_nuclei"].children) > 1
    for system in ("global", "um"):
        to_shapes, to_labels = (
            get_transformation(data[name], system).to_affine_matrix(("x", "y"), ("x", "y"))
            for name in ("nuclei", "labels_nuclei")
        )
        for number in (1, 50, 100):
            y, x = np.nonzero(labels.values == number)
            middle = to_labels @ [x.mean() + 0.5, y.mean() + 0.5, 1]
            of_outline = data.shapes["nuclei"].geometry.loc[number].centroid
            assert middle[:2] == pytest.approx((to_shapes @ [of_outline.x, of_outline.y, 1])[:2], abs=0.5)


READ = {
    "spatialdata": read_spatialdata,
    "geojson": read_geojson,
    "geoparquet": read_geoparquet,
    "flatgeobuf": read_flatgeobuf,
    "csv": read_csv,
    "dsa": read_dsa,
    "ome-tiff": read_ome_tiff,
}


@pytest.mark.parametrize("to", list(FORMATS))
def test_every_format_holds_the_same_nuclei(run, whole, tmp_path, to, capsys):
    if to == "spatialdata":
        pytest.importorskip("spatialdata", reason="pip install 'wsiseg[spatialdata]', which brings an older dask")
    path = export(run, to, tmp_path / "n")
    assert capsys.readouterr().out == f"{path}\n"
    found = READ[to](path, run)
    assert found.classes == whole.classes
    assert found.classes["Nucleus"] > 100
    # JSON has areas to 4 digits.
    assert found.area_um2 == pytest.approx(whole.area_um2, abs=1e-4 * len(whole.polygons))
    if to in POLYGONS:
        assert shapely.equals_exact(found.polygons, whole.polygons).all() or to == "dsa"
        assert shapely.area(found.polygons).sum() == pytest.approx(shapely.area(whole.polygons).sum(), rel=1e-12)
        assert shapely.equals(found.polygons, whole.polygons).all()


def test_an_export_of_what_a_run_writes_is_what_it_wrote(run, tmp_path):
    for to, name in (("geojson", "nuclei.geojson.gz"), ("geoparquet", "nuclei.parquet")):
        assert export(run, to, tmp_path / to).read_bytes() == (run / name).read_bytes()


def test_a_run_with_gaps_is_exported_and_its_mask_says_what_is_unknown(home, tmp_path):
    slide = tmp_path / "torn.svs"
    shutil.copyfile(home / "a slide.svs", slide)
    corrupt_tile(slide, 0)
    out = tmp_path / "run"
    run_toy(slide, out, home / "bundle", tissue="none", max_unreadable=1.0, ngff="0.4")
    assert inspect_run(out).state is State.GAPS
    assert export(out, "geojson", tmp_path / "n").read_bytes() == (out / "nuclei.geojson.gz").read_bytes()
    with tifffile.TiffFile(export(out, "ome-tiff", tmp_path / "m")) as tiff:
        named = {one["value"] for one in described(tiff)["classes"]}
        assert named | {0} == set(np.unique(tiff.series[0].asarray()).tolist()) == {0, 1, 255}


def test_flatgeobuf_says_what_it_is_about_and_finds_nuclei_by_place(run, whole, tmp_path):
    pyogrio = pytest.importorskip("pyogrio")
    path = export(run, "flatgeobuf", tmp_path / "n")
    assert json.loads(pyogrio.read_info(path)["layer_metadata"]["wsiseg"])["coords"] == "level 0"
    box = (300, 200, 520, 333)
    found = pyogrio.read_dataframe(path, bbox=box)
    assert set(found["id"]) == set(np.flatnonzero(shapely.intersects(whole.polygons, shapely.box(*box))) + 1)


COLOUR = r"(#[0-9a-fA-F]{3,6}|rgb\(\d+,\s*\d+,\s*\d+\)|rgba\(\d+,\s*\d+,\s*\d+,\s*(\d?\.|)\d+\))"
"""What the Digital Slide Archive takes for a colour."""


def test_dsa_takes_the_annotation(run, tmp_path):
    document = json.loads(export(run, "dsa", tmp_path / "n").read_text(encoding="utf-8"))
    assert set(document) == {"name", "description", "attributes", "elements"}
    assert document["attributes"]["wsiseg"]["coords"] == "level 0"
    members = {"type", "closed", "points", "label", "group", "lineColor", "fillColor", "lineWidth", "user"}
    for element in document["elements"]:
        assert set(element) == members
        assert (element["type"], element["closed"]) == ("polyline", True)
        assert set(element["label"]) == {"value"}
        assert re.fullmatch(COLOUR, element["lineColor"])
        assert re.fullmatch(COLOUR, element["fillColor"])
        assert all(len(point) == 3 and point[2] == 0 for point in element["points"])
        assert len(element["points"]) >= 3
        assert element["points"][0] != element["points"][-1]


def test_ome_tiff_is_the_mask_store_level_by_level(run, tmp_path):
    path = export(run, "ome-tiff", tmp_path / "n")
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert tiff.is_ome
        assert [series.name for series in tiff.series] == ["classes", "nuclei"]
        for series in tiff.series:
            store = run / "masks.ome.zarr" / "labels" / series.name
            assert len(series.levels) == len(list(store.glob("[0-9]*"))) > 1
            for number, level in enumerate(series.levels):
                assert level.keyframe.is_tiled
                assert np.array_equal(level.asarray(), zarr.open_array(store / str(number), mode="r")[:])
        mpp = toy_spec().mpp
        assert tiff.ome_metadata.count(f'PhysicalSizeX="{mpp}" PhysicalSizeXUnit="\u00b5m"') == 2
    with openslide.OpenSlide(path) as slide:
        classes = zarr.open_array(run / "masks.ome.zarr" / "labels" / "classes" / "0", mode="r")[:]
        assert slide.dimensions == SIZE
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(mpp)
        assert np.array_equal(np.asarray(slide.read_region((0, 0), 0, SIZE))[..., 0], classes)


def test_a_slide_with_bounds_lands_where_qupath_shows_it(home, tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "bounded", "bounded_reader:BoundedSlide")
    run_toy(home / "a slide.svs", tmp_path / "run", home / "bundle", tissue="none", reader="bounded")
    bounds = bounded_reader.BOUNDS
    painting = paint_tissue(SIZE, scattered(SIZE, spacing=64))
    shown = read_geojson(export(tmp_path / "run", "geojson", tmp_path / "q"), None)
    kept = read_geojson(export(tmp_path / "run", "geojson", tmp_path / "s", "--coords", "slide"), None)
    table = Content.of_nuclei(open_finished(tmp_path / "run").batches())
    assert len(shown.polygons) > 50
    assert shapely.equals_exact(kept.polygons, table.polygons).all()
    for polygon, level0 in zip(shown.polygons, kept.polygons, strict=True):
        moved = shapely.get_coordinates(polygon) + (bounds.x, bounds.y)
        np.testing.assert_allclose(moved, shapely.get_coordinates(level0), atol=1e-6)
        # The truth: what is painted there in the picture that QuPath shows, cut at the bounds.
        x, y = (int(value) for value in polygon.representative_point().coords[0])
        assert painting.labels[bounds.slices][y, x] > 0


@pytest.mark.parametrize(
    ("harm", "code", "status"),
    [
        (lambda run: (run / "COMPLETE.json").unlink(), "E-OUT-MISSING", 5),
        (lambda run: (run / "nuclei.parquet").unlink(), "E-DAMAGED", 8),
        (
            lambda run: (run / "nuclei.parquet").write_bytes((run / "nuclei.parquet").read_bytes()[::-1]),
            "E-DAMAGED",
            8,
        ),
        (shutil.rmtree, "E-OUT-MISSING", 5),
    ],
    ids=["unfinished", "incomplete", "changed", "absent"],
)
def test_what_is_no_complete_run_is_refused(run, tmp_path, capsys, harm, code, status):
    copy = shutil.copytree(run, tmp_path / "run")
    harm(copy)
    assert _status(["export", str(copy), "--to", "csv", "-o", str(tmp_path / "out" / "n.csv")]) == status
    assert capsys.readouterr().err.startswith(f"wsiseg: error[{code}]")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["n", "n.geojson.gz", "n.geojson.zip"])
def test_no_file_is_overwritten(run, tmp_path, capsys, name):
    (tmp_path / "n.geojson.gz").write_bytes(b"mine")
    assert _status(["export", str(run), "--to", "geojson", "-o", str(tmp_path / name)]) == 5
    assert "error[E-OUT-FOREIGN]: the file exists" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"n.geojson.gz": b"mine"}


@pytest.mark.parametrize("name", ["n", "n.csv"])
def test_the_ending_may_be_left_out_and_folders_are_made(run, tmp_path, name):
    assert _status(["export", str(run), "--to", "csv", "-o", str(tmp_path / "a" / "b" / name)]) == 0
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["n.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ["--to", "csv", "--coords", "slide", "-o", "n"],
        ["--to", "shapefile", "-o", "n"],
        ["--to", "csv", "-o", "."],
    ],
)
def test_what_makes_no_sense_is_one_line(run, capsys, words):
    assert _status(["export", str(run), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("wsiseg: error[E-USAGE]")
    assert said.count("\n") == 1


def test_a_failed_export_leaves_nothing(run, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wsiseg.export.csv.as_plain_batch", full)
    assert _status(["export", str(run), "--to", "csv", "-o", str(tmp_path / "n")]) == 6
    assert "E-NOSPACE" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_gdal_flatgeobuf_names_the_extra(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "pyogrio", None)
    assert _status(["export", str(run), "--to", "flatgeobuf", "-o", str(tmp_path / "n")]) == 2
    assert "wsiseg[export]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_its_library_spatialdata_names_the_extra(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "spatialdata", None)
    assert _status(["export", str(run), "--to", "spatialdata", "-o", str(tmp_path / "n")]) == 2
    assert "wsiseg[spatialdata]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_report_shows_fields_of_which_each_caption_is_true(run):
    page = StrictPage((run / "report.html").read_text(encoding="utf-8"))
    # Four nuclei a field are too few to call one the least certain.
    assert sum(tag == "img" for tag, _ in page.tags) == 1 + 2 * OF_EACH
    assert {"Drawn at random", "The densest"} < set(page.texts)
    table = pq.read_table(run / "nuclei.parquet").to_pydict()
    field_px = FIELD_TILES * TILE_PX
    place = np.stack([table["anchor_x"], table["anchor_y"]], axis=1) // field_px
    captions = [re.fullmatch(CAPTION, text) for text in page.texts]
    captions = [[float(part.replace(",", "")) for part in found.groups()] for found in captions if found]
    assert len(captions) == 2 * OF_EACH
    for density, count, probability, x, y in captions:
        inside = (place == (int(x) // field_px, int(y) // field_px)).all(axis=1)
        assert inside.sum() == count
        assert np.mean(np.array(table["probability"])[inside]) == pytest.approx(probability, abs=0.006)
        assert density == pytest.approx(count / (field_px * toy_spec().mpp / 1000) ** 2, rel=0.01)
