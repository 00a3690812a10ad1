"""GeoJSON for QuPath: the profile, the rules of its importer, parts, bounds and bytes that never change."""

from __future__ import annotations

import gzip
import importlib.util
import json
import uuid
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from label_fields import blobs, decode_whole, joined, label_images, with_classes, with_neighbours

from wsiseg import fsio
from wsiseg.errors import InternalError
from wsiseg.export import EXPORTERS, ExportHeader, lines, load_exporter
from wsiseg.export import geojson as module
from wsiseg.export.geojson import export_geojson
from wsiseg.geometry import Box, Frame
from wsiseg.models.bundle import ClassSpec
from wsiseg.nuclei import Nuclei

HEADER = ExportHeader("a slide.svs", "fingerprint", 0.25, (0, 0), (ClassSpec(1, "nucleus", (200, 30, 30)),))


@pytest.fixture(scope="module")
def nuclei() -> Nuclei:
    return with_neighbours(decode_whole(blobs(150, 150)).nuclei)


@pytest.fixture(scope="session")
def rules(shared):
    """The project's checker of QuPath's import rules, which lies beside the repository."""
    path = shared / "tools" / "qupath_rules.py"
    if not path.is_file():
        pytest.skip("the checker of QuPath's rules is not beside the repository")
    spec = importlib.util.spec_from_file_location("qupath_rules", path)
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    return lambda file: checker.check(str(file))


def export(batches, total, folder, header=HEADER):
    """Export and publish, as a caller does."""
    (path,) = export_geojson(batches, total, folder / "nuclei", header)
    fsio.publish(fsio.partial_name(path), path)
    return path


def load(path) -> dict:
    return json.loads(gzip.decompress(path.read_bytes()), parse_constant=pytest.fail)


def many(nuclei: Nuclei, total: int, size: int = 5000):
    """The same nuclei over and over, with ids that go on."""
    light = replace(nuclei, runs=nuclei.runs[:0])
    batch = joined([light] * -(-size // len(light)))
    for first in range(0, total, size):
        yield batch.take(np.arange(min(size, total - first))).renumbered(first + 1)


def test_features_are_qupaths_detections(nuclei, tmp_path):
    path = export([nuclei], len(nuclei), tmp_path)
    text = gzip.decompress(path.read_bytes()).decode()
    document = load(path)
    assert path.name == "nuclei.geojson.gz"
    assert len(text.splitlines()) == len(nuclei) + 2  # one feature a line
    assert document["wsiseg"]["slide"] == "a slide.svs"
    assert document["wsiseg"]["origin"] == [0, 0]
    for index, feature in enumerate(document["features"]):
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        assert properties["classification"] == {"name": "nucleus", "color": [200, 30, 30]}
        assert shapely.geometry.shape(feature["geometry"]).equals_exact(nuclei.polygon[index], 0)
        found = properties["measurements"]
        assert found["Area \u00b5m^2"] == pytest.approx(nuclei.area_um2[index], abs=1e-4)
        assert found["Length \u00b5m"] == pytest.approx(nuclei.perimeter_um[index], abs=1e-4)
        assert found["Probability"] == pytest.approx(nuclei.probability[index], abs=1e-4)
        assert found["Hematoxylin: Mean"] == pytest.approx(nuclei.haematoxylin_od_mean[index], abs=1e-4)
        assert found["Eosin: Std.Dev."] == pytest.approx(nuclei.eosin_od_std[index], abs=1e-4)
        assert found["Smoothed: 50 \u00b5m: Nearby detection counts"] == nuclei.neighbours_50um[index]
        nearest = found.get("Nearest nucleus \u00b5m")  # a null would be a warning of QuPath's for each nucleus
        assert nearest == (pytest.approx(nuclei.nearest_um[index], abs=1e-4) if index else None)
    assert ("Nearest nucleus \u00b5m" in document["features"][0]["properties"]["measurements"]) is False


TYPES = (ClassSpec(4, "tumour or 100 %b", (200, 0, 0)), ClassSpec(2, 'with "quotes"', (0, 160, 60)))


def test_classes_have_their_colours_and_probabilities(nuclei, tmp_path, rules):
    typed = with_classes(nuclei, (4, 2))
    path = export([typed], len(typed), tmp_path, replace(HEADER, classes=TYPES))
    assert rules(path) == ({}, {}, len(typed))
    for index, feature in enumerate(load(path)["features"]):
        own = TYPES[index % 2]
        properties = feature["properties"]
        assert properties["classification"] == {"name": own.name, "color": list(own.color)}
        for place, one in enumerate(TYPES):
            found = properties["measurements"][f"Probability: {one.name}"]
            assert found == pytest.approx(typed.class_probability[index, place], abs=1e-4)
        assert properties["measurements"]["Probability"] == pytest.approx(typed.probability[index], abs=1e-4)
        assert ("Nearest nucleus \u00b5m" in properties["measurements"]) is (index > 0)


def test_ids_are_uuid5_of_slide_and_number(nuclei, tmp_path):
    features = load(export([nuclei], len(nuclei), tmp_path))["features"]
    slide = uuid.uuid5(module._ID_NAMESPACE, "fingerprint")
    assert [f["id"] for f in features] == [str(uuid.uuid5(slide, str(number))) for number in nuclei.id]
    other = load(export([nuclei], len(nuclei), tmp_path, replace(HEADER, fingerprint="another")))["features"]
    assert not {f["id"] for f in features} & {f["id"] for f in other}


def test_qupath_takes_it_without_a_remark(nuclei, tmp_path, rules):
    assert rules(export([nuclei], len(nuclei), tmp_path)) == ({}, {}, len(nuclei))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=label_images(20))
def test_qupath_takes_ugly_masks(labels, tmp_path, rules):
    corner = (1000, 2001)
    area = Box(*corner, 2 * labels.shape[1], 2 * labels.shape[0])
    found = decode_whole(labels, Frame(labels.shape[1], labels.shape[0], 2.0005, corner), area).nuclei
    path = export([found], len(found), tmp_path, replace(HEADER, origin=corner))
    assert rules(path) == ({}, {}, len(found))
    features = load(path)["features"]
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(shape.is_valid and shape.area > 0 for shape in shapes)


def test_no_nuclei_are_an_empty_collection(tmp_path, rules):
    path = export([Nuclei.empty()], 0, tmp_path)
    assert load(path)["features"] == []
    assert rules(path) == ({}, {}, 0)


def test_bounds_are_taken_off_for_qupath_and_kept_for_the_slide(tmp_path):
    origin = (4001, 70003)
    labels = blobs(100, 100)
    frame, area = Frame(100, 100, 2.0005, origin), Box(*origin, 201, 201)
    nuclei = decode_whole(labels, frame, area).nuclei
    plain = decode_whole(labels, Frame(100, 100, 2.0005), Box(0, 0, 201, 201)).nuclei
    header = replace(HEADER, origin=origin)
    shown = load(export([nuclei], len(nuclei), tmp_path, header))
    assert shown["wsiseg"] | {"version": ""} == {
        "version": "", "slide": "a slide.svs", "mpp": 0.25, "model_sha256": "", "origin": list(origin),
        "coords": "qupath",
    }  # fmt: skip
    for feature, polygon in zip(shown["features"], plain.polygon, strict=True):
        # Ties of the 0.01 px grid may fall either way at another origin.
        np.testing.assert_allclose(
            feature["geometry"]["coordinates"][0], shapely.get_coordinates(polygon), atol=0.011
        )
    kept = load(export([nuclei], len(nuclei), tmp_path, replace(header, coords="slide")))
    assert kept["wsiseg"]["origin"] == [0, 0]
    for feature, polygon in zip(kept["features"], nuclei.polygon, strict=True):
        assert feature["geometry"]["coordinates"] == [shapely.get_coordinates(polygon).tolist()]


def test_equal_nuclei_give_equal_bytes(nuclei, tmp_path, monkeypatch):
    first = export([nuclei], len(nuclei), tmp_path).read_bytes()
    half = len(nuclei) // 2
    parts = [nuclei.take(np.arange(half)), nuclei.take(np.arange(half, len(nuclei)))]
    (tmp_path / "elsewhere").mkdir()
    assert export(parts, len(nuclei), tmp_path / "elsewhere").read_bytes() == first
    monkeypatch.setattr(module, "SINGLE_FILE_MAX", 10)
    monkeypatch.setattr(module, "PART_SIZE", 10)
    first = export([nuclei], len(nuclei), tmp_path).read_bytes()
    assert export(parts, len(nuclei), tmp_path / "elsewhere").read_bytes() == first


@pytest.mark.parametrize(("total", "name", "parts"), [(100_000, "gz", 1), (100_001, "zip", 3)])
def test_many_nuclei_go_into_parts(nuclei, tmp_path, total, name, parts):
    path = export(many(nuclei, total), total, tmp_path)
    assert path.name == f"nuclei.geojson.{name}"
    if name == "gz":
        assert gzip.decompress(path.read_bytes()).count(b'"Feature"') == total
        return
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"part-{number:04d}.geojson" for number in range(1, parts + 1)]
        contents = [archive.read(entry) for entry in archive.namelist()]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert [content.count(b'"Feature"') for content in contents] == [50_000, 50_000, 1]
    ids = {line[:70] for content in contents for line in content.splitlines() if b'"id"' in line}
    assert len(ids) == total


def test_parts_pass_the_rules(nuclei, tmp_path, rules, monkeypatch):
    monkeypatch.setattr(module, "SINGLE_FILE_MAX", 30)
    monkeypatch.setattr(module, "PART_SIZE", 20)
    assert rules(export([nuclei], len(nuclei), tmp_path)) == ({}, {}, len(nuclei))


def test_batches_are_asked_for_one_by_one(nuclei, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LINES_AT_ONCE", 10)
    path = fsio.partial_name(tmp_path / "nuclei.geojson.gz")
    sizes = []

    def batches():
        for number in range(100):
            sizes.append(path.stat().st_size)
            yield nuclei.renumbered(1 + number * len(nuclei))

    export_geojson(batches(), 100 * len(nuclei), tmp_path / "nuclei", HEADER)
    assert not (tmp_path / "nuclei.geojson.gz").exists()  # it is the caller who publishes
    # What came before is in the file, not in memory, while the next batch is made.
    assert sizes[0] < 100 < sizes[50] < 0.7 * sizes[-1] < 0.7 * path.stat().st_size


@pytest.mark.parametrize("announced", [-1, 1])
def test_a_wrong_total_is_a_bug(nuclei, tmp_path, announced, monkeypatch):
    for limit in (100_000, 10):
        monkeypatch.setattr(module, "SINGLE_FILE_MAX", limit)
        monkeypatch.setattr(module, "PART_SIZE", len(nuclei) - 1)
        with pytest.raises(ValueError, match="announced"):
            export_geojson([nuclei], len(nuclei) + announced, tmp_path / "nuclei", HEADER)


def test_numbers_that_are_not_finite_are_refused(nuclei, tmp_path):
    broken = nuclei.take(np.arange(3))
    broken.area_um2[1] = np.inf
    with pytest.raises(InternalError) as caught:
        export_geojson([broken], 3, tmp_path / "nuclei", HEADER)
    assert caught.value.code == "E-NONFINITE"


@pytest.mark.parametrize("name", ['<script>"x"', "=cmd()", "\x1b[31m", "Gewebe\u00fc", "bad\udcff"])
def test_odd_slide_names_stay_text(nuclei, tmp_path, name):
    document = load(export([nuclei], len(nuclei), tmp_path, replace(HEADER, slide=name)))
    assert document["wsiseg"]["slide"] == name.replace("\udcff", "?")


@pytest.mark.parametrize("name", ["100 %b", '"%"', "%%", "Kern\u00fc"])
def test_odd_class_names_stay_text(nuclei, tmp_path, name):
    header = replace(HEADER, classes=(ClassSpec(1, name, (200, 30, 30)),))
    features = load(export([nuclei], len(nuclei), tmp_path, header))["features"]
    assert {feature["properties"]["classification"]["name"] for feature in features} == {name}


def test_the_table_of_exporters():
    for name in EXPORTERS:
        assert callable(load_exporter(name))
    with pytest.raises(KeyError):
        load_exporter("shapefile")
