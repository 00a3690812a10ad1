"""CSV, DSA and FlatGeobuf from nuclei alone: ugly ones, none, odd class names, errors on the way."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from label_fields import blobs, decode_whole, label_images, with_classes, with_neighbours

from wsiseg import fsio
from wsiseg.export import EXPORTERS, MASK_EXPORTERS, ExportHeader, load_exporter
from wsiseg.export.geojson import MEASUREMENTS as QUPATH
from wsiseg.export.table import CORNERS, column_names, table_schema
from wsiseg.geometry import Box, Frame
from wsiseg.models.bundle import ClassSpec
from wsiseg.nuclei import MEASUREMENTS, Nuclei
from wsiseg.run.folder import DELIVERABLES

CLASSES = (ClassSpec(2, "tumour", (200, 30, 30)), ClassSpec(1, "nucleus", (30, 200, 30)))
HEADER = ExportHeader("a slide.svs", "fingerprint", 0.25, (1000, 2001), CLASSES)
FORMATS = ("csv", "dsa", "flatgeobuf")


@pytest.fixture(scope="module")
def nuclei() -> Nuclei:
    found = decode_whole(blobs(150, 150)).nuclei
    return with_neighbours(with_classes(found, (1, 2)))


def write(name, batches, total, folder, header=HEADER):
    """Export and publish, as a caller does."""
    (path,) = load_exporter(name)(batches, total, folder / "nuclei", header)
    assert not path.exists()
    fsio.publish(fsio.partial_name(path), path)
    assert not list(folder.glob("*.partial"))  # nothing of GDAL's is left either
    return path


def polygons_of(name, path):
    """Read the outlines in the order of their ids."""
    if name == "dsa":
        elements = json.loads(path.read_text(encoding="utf-8"))["elements"]
        return np.array([shapely.Polygon(np.array(one["points"])[:, :2]) for one in elements], object)
    _, _, geometry, (ids,) = pyogrio.raw.read(path, columns=["id"])
    return shapely.from_wkb(geometry)[np.argsort(ids)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=label_images(20))
@pytest.mark.parametrize("name", ["dsa", "flatgeobuf"])
def test_ugly_nuclei_stay_what_they_are(labels, name, tmp_path):
    corner = (1000, 2001)
    area = Box(*corner, 2 * labels.shape[1], 2 * labels.shape[0])
    found = decode_whole(labels, Frame(labels.shape[1], labels.shape[0], 2.0005, corner), area).nuclei
    header = replace(HEADER, classes=CLASSES[1:])
    (path,) = load_exporter(name)([found], len(found), tmp_path / "nuclei", header)
    path = fsio.partial_name(path).rename(path)
    read = polygons_of(name, path)
    path.unlink()
    assert len(read) == len(found)
    assert shapely.is_valid(read).all()
    # Level-0 pixels, whatever the slide's bounds; the first point of a ring may be another.
    assert shapely.equals_exact(shapely.normalize(read), shapely.normalize(found.polygon), 0).all()


@pytest.mark.parametrize("name", FORMATS)
def test_no_nuclei_are_an_empty_file(name, tmp_path):
    path = write(name, [Nuclei.empty(2)], 0, tmp_path)
    if name == "csv":
        assert len(path.read_text(encoding="utf-8").splitlines()) == 1
    else:
        assert len(polygons_of(name, path)) == 0


def test_csv_has_the_numbers_of_the_table(nuclei, tmp_path):
    half = len(nuclei) // 2
    parts = [nuclei.take(np.arange(half)), nuclei.take(np.arange(half, len(nuclei)))]
    with write("csv", parts, len(nuclei), tmp_path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in (*MEASUREMENTS, "centroid_x", "centroid_y", "id", "class_value"):
        column = getattr(nuclei, name)
        assert np.array_equal(np.array([row[name] for row in rows], column.dtype), column)
    assert rows[0]["nearest_um"] == ""
    assert np.array_equal(np.array([row["nearest_um"] for row in rows[1:]], np.float32), nuclei.nearest_um[1:])
    assert [float(row["neighbours_50um"]) for row in rows] == nuclei.neighbours_50um.tolist()
    assert [(int(row["anchor_x"]), int(row["anchor_y"])) for row in rows] == list(
        map(tuple, nuclei.anchor.tolist())
    )
    assert [row["class"] for row in rows[:2]] == ["nucleus", "tumour"]
    shares = [[row["probability_tumour"], row["probability_nucleus"]] for row in rows]
    assert np.array_equal(np.array(shares, np.float32), nuclei.class_probability)


def test_every_format_has_the_probability_of_each_class(nuclei, tmp_path):
    columns = ["probability_tumour", "probability_nucleus"]
    elements = json.loads(write("dsa", [nuclei], len(nuclei), tmp_path).read_text(encoding="utf-8"))["elements"]
    found = [[element["user"][name] for name in columns] for element in elements]
    np.testing.assert_allclose(found, nuclei.class_probability, atol=1e-4)
    path = write("flatgeobuf", [nuclei], len(nuclei), tmp_path)
    _, _, _, (ids, *shares) = pyogrio.raw.read(path, columns=["id", *columns], read_geometry=False)
    np.testing.assert_array_equal(np.stack(shares, axis=1)[np.argsort(ids)], nuclei.class_probability)


def test_names_of_classes_become_names_of_columns():
    names = ["Tumour or epithelial", "Krebs-Zelle \u00fc 2", "a b", "a-b", "A_B", "a_b_2"]
    found = column_names(names)
    assert found == ["tumour_or_epithelial", "krebs_zelle___2", "a_b", "a_b_2", "a_b_3", "a_b_2_2"]


def test_flatgeobuf_has_no_distance_where_there_is_none(nuclei, tmp_path):
    path = write("flatgeobuf", [nuclei], len(nuclei), tmp_path)
    _, _, _, (ids, found) = pyogrio.raw.read(path, columns=["id", "nearest_um"], read_geometry=False)
    np.testing.assert_array_equal(found[np.argsort(ids)].astype(np.float32), nuclei.nearest_um)


@pytest.mark.parametrize("name", ["=cmd()", "+1", "@x", 'with "quotes", and a comma', "Gewebe\u00fc"])
def test_odd_class_names_stay_text(nuclei, tmp_path, name):
    header = replace(HEADER, classes=(ClassSpec(1, name, (1, 2, 3)), ClassSpec(2, "other", (1, 2, 3))))
    with write("csv", [nuclei], len(nuclei), tmp_path, header).open(newline="", encoding="utf-8") as file:
        (first, *_) = csv.DictReader(file)
    assert first["class"] == (f"'{name}" if name[0] in "=+@" else name)
    document = json.loads(write("dsa", [nuclei], len(nuclei), tmp_path, header).read_text(encoding="utf-8"))
    assert document["elements"][0]["label"]["value"] == name
    written = write("flatgeobuf", [nuclei], len(nuclei), tmp_path, header)
    assert set(pyogrio.raw.read(written, columns=["class"], read_geometry=False)[3][0]) == {name, "other"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("announced", [-1, 1])
def test_a_wrong_total_is_a_bug(nuclei, tmp_path, name, announced):
    with pytest.raises(ValueError, match="announced"):
        load_exporter(name)([nuclei], len(nuclei) + announced, tmp_path / "nuclei", HEADER)


@pytest.mark.parametrize("name", FORMATS)
def test_equal_nuclei_give_equal_bytes(nuclei, tmp_path, name):
    half = len(nuclei) // 2
    parts = [nuclei.take(np.arange(half)), nuclei.take(np.arange(half, len(nuclei)))]
    (tmp_path / "elsewhere").mkdir()
    first = write(name, [nuclei], len(nuclei), tmp_path).read_bytes()
    assert write(name, parts, len(nuclei), tmp_path / "elsewhere").read_bytes() == first


def test_the_page_of_formats_names_every_column_and_format():
    page = (Path(__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")
    words = {*table_schema(CLASSES[:1]).names, *CORNERS, *EXPORTERS, *MASK_EXPORTERS, *DELIVERABLES}
    endings = {ending for one in (*EXPORTERS.values(), *MASK_EXPORTERS.values()) for ending in one.endings}
    assert {word for word in words | endings | set(QUPATH) if f"`{word}`" not in page} == set()
