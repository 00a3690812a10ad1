"""The table of nuclei: GeoParquet that others can read, the same bytes each time, and the way back."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from label_fields import blobs, decode_whole, joined, with_classes, with_neighbours

from wsiseg import fsio
from wsiseg.errors import InternalError, OutputError, ResourceError
from wsiseg.export import ExportHeader
from wsiseg.export.parquet import NucleiParquetWriter, export_geoparquet, read_nuclei
from wsiseg.geometry import Box, Frame
from wsiseg.models.bundle import ClassSpec
from wsiseg.nuclei import MEASUREMENTS, Nuclei

CLASSES = (ClassSpec(2, "tumour", (200, 30, 30)), ClassSpec(1, "stroma", (30, 200, 30)))
HEADER = ExportHeader("a slide.svs", "fingerprint", 0.25, (10, 20), CLASSES)


@pytest.fixture(scope="module")
def batches() -> list[Nuclei]:
    found = []
    for seed in range(3):
        corner = (500 * seed + 0.0, 10.0)
        nuclei = decode_whole(
            blobs(100, 90, seed=seed), Frame(90, 100, 2.0005, corner), Box(0, 0, 5000, 5000)
        ).nuclei
        found.append(with_neighbours(with_classes(nuclei, (1, 2))))
    firsts = np.cumsum([1] + [len(nuclei) for nuclei in found])
    return [nuclei.renumbered(int(first)) for nuclei, first in zip(found, firsts, strict=False)]


def write(path, batches, header=HEADER):
    with NucleiParquetWriter(path, header) as writer:
        for nuclei in batches:
            writer.write(nuclei)
    return path


def test_one_row_a_nucleus_and_one_row_group_a_batch(batches, tmp_path):
    path = write(tmp_path / "n.parquet", [batches[0], Nuclei.empty(), *batches[1:]])
    table = pq.read_table(path)
    whole = joined(batches)
    assert pq.read_metadata(path).num_row_groups == 3
    assert table["id"].to_pylist() == list(range(1, len(whole) + 1))
    assert table["class"].to_pylist() == [{1: "stroma", 2: "tumour"}[v] for v in whole.class_value.tolist()]
    for name in (*MEASUREMENTS, "class_value", "centroid_x", "centroid_y"):
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(whole, name))
    for place, name in enumerate(["probability_tumour", "probability_stroma"]):
        np.testing.assert_array_equal(table[name].to_numpy(), whole.class_probability[:, place])
    polygons = shapely.from_wkb(table["geometry"].to_pylist())
    assert shapely.equals_exact(polygons, whole.polygon).all()
    boxes = np.array([[row[k] for k in ("xmin", "ymin", "xmax", "ymax")] for row in table["bbox"].to_pylist()])
    np.testing.assert_array_equal(boxes, shapely.bounds(whole.polygon))


def test_metadata_follow_geoparquet(batches, tmp_path):
    metadata = pq.read_metadata(write(tmp_path / "n.parquet", batches)).metadata
    geo = json.loads(metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert (column["encoding"], column["geometry_types"], column["crs"]) == ("WKB", ["Polygon"], None)
    assert column["orientation"] == "counterclockwise"
    assert column["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    whole = joined(batches)
    assert column["bbox"] == list(shapely.total_bounds(whole.polygon))
    assert all(polygon.exterior.is_ccw for polygon in whole.polygon)
    about = json.loads(metadata[b"wsiseg"])
    assert (about["slide"], about["mpp"], about["origin"]) == ("a slide.svs", 0.25, [10, 20])


def test_geopandas_reads_it(batches, tmp_path):
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.read_parquet(write(tmp_path / "n.parquet", batches))
    whole = joined(batches)
    assert len(frame) == len(whole)
    assert frame.crs is None
    np.testing.assert_allclose(frame.area, shapely.area(whole.polygon))
    left = geopandas.read_parquet(tmp_path / "n.parquet", bbox=(0, 0, 400, 5000))
    assert 0 < len(left) < len(frame)


def test_what_is_read_back_is_what_was_written(batches, tmp_path):
    path = write(tmp_path / "n.parquet", batches)
    back = list(read_nuclei(path, CLASSES))
    assert len(back) == len(batches)
    for read, written in zip(back, batches, strict=True):
        assert len(read.runs) == 0
        assert read.to_bytes() == replace(written, runs=written.runs[:0]).to_bytes()
        for column in fields(Nuclei):
            assert getattr(read, column.name).dtype == getattr(written, column.name).dtype


def test_what_is_not_near_is_null_and_no_number(batches, tmp_path):
    table = pq.read_table(write(tmp_path / "n.parquet", batches))
    assert table["nearest_um"].null_count == len(batches)
    assert all(table[name].null_count == 0 for name in table.column_names if name != "nearest_um")
    assert not np.isnan(table["nearest_um"].drop_null().to_numpy()).any()


def test_the_table_of_an_older_version_is_refused_in_one_line(batches, tmp_path):
    path = write(tmp_path / "n.parquet", batches)
    table = pq.read_table(path)
    for dropped in (["nearest_um", "eosin_od_std"], ["probability_stroma"]):
        pq.write_table(table.drop_columns(dropped), path)
        with pytest.raises(OutputError) as refused:
            list(read_nuclei(path, CLASSES))
        assert refused.value.code == "E-OUT-SCHEMA"
        assert dropped[-1] in str(refused.value)


def test_one_class_has_no_column_of_its_probability(batches, tmp_path):
    one = replace(batches[0].take(np.arange(5)), class_value=np.full(5, 2, np.uint8))
    one = replace(one, class_probability=np.empty((5, 0), np.float32))
    path = write(tmp_path / "n.parquet", [one], replace(HEADER, classes=CLASSES[:1]))
    assert [name for name in pq.read_schema(path).names if name.startswith("probability")] == ["probability"]
    assert next(read_nuclei(path, CLASSES[:1])).class_probability.shape == (5, 0)


def test_equal_nuclei_give_equal_bytes(batches, tmp_path):
    assert write(tmp_path / "a", batches).read_bytes() == write(tmp_path / "b", batches).read_bytes()


def test_no_nuclei_are_a_table_without_rows(tmp_path):
    empty = write(tmp_path / "n.parquet", [Nuclei.empty()])
    assert pq.read_table(empty).num_rows == 0
    assert pq.read_schema(empty).names[:3] == ["id", "class", "class_value"]
    assert "bbox" not in json.loads(pq.read_metadata(empty).metadata[b"geo"])["columns"]["geometry"]
    assert list(read_nuclei(empty, CLASSES)) == []


def test_the_exporter_leaves_a_partial_file_to_publish(batches, tmp_path):
    total = sum(len(nuclei) for nuclei in batches)
    (path,) = export_geoparquet(iter(batches), total, tmp_path / "nuclei", HEADER)
    assert path == tmp_path / "nuclei.parquet"
    assert not path.exists()
    assert fsio.partial_name(path).read_bytes() == write(tmp_path / "n", batches).read_bytes()
    with pytest.raises(ValueError, match="announced"):
        export_geoparquet(iter(batches), total + 1, tmp_path / "nuclei", HEADER)


def test_batches_are_written_as_they_come(batches, tmp_path):
    path, sizes = tmp_path / "n.parquet", []
    with NucleiParquetWriter(path, HEADER) as writer:
        for number in range(20):
            writer.write(batches[0].renumbered(1 + number * len(batches[0])))
            sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[10] < sizes[-1]


def test_numbers_that_are_not_finite_are_refused(batches, tmp_path):
    broken = batches[0].take([0, 1, 2])
    broken.solidity[2] = np.nan
    with pytest.raises(InternalError, match="solidity"), NucleiParquetWriter(tmp_path / "n", HEADER) as writer:
        writer.write(broken)


def test_a_class_that_the_bundle_lacks_is_a_bug(batches, tmp_path):
    with pytest.raises(KeyError):
        write(tmp_path / "n", batches, replace(HEADER, classes=(CLASSES[0], ClassSpec(3, "other", (1, 2, 3)))))


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises((OutputError, ResourceError), match="error"):
        NucleiParquetWriter(tmp_path / "no" / "n.parquet", HEADER)
