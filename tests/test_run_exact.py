"""The first promise: each nucleus once and whole, whatever the tiles, blocks, batches, workers and readers."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from synthetic import on_seams, paint_tissue, scattered, write_slide
from toy import TILE_PX, ColourPredictor, colour_maps, run_toy, write_bundle

from wsiseg.geometry import Box, Frame
from wsiseg.instances import Decoding, Planes, decode_block
from wsiseg.models.bundle import load_bundle
from wsiseg.nuclei import MEASUREMENTS
from wsiseg.run.folder import DELIVERABLES, RunFolder
from wsiseg.run.neighbours import FAR_UM, NEAR_UM
from wsiseg.stains import as_planes, stains_of

SIZE = (2500, 2300)
"""Level 0; at the model's frame 3 x 3 blocks of 1024 px."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def painting():
    near_seams = [n for n in on_seams(SIZE, step=4 * TILE_PX) if n.x < 2450 and n.y < 2250]
    return paint_tissue(SIZE, near_seams, noise=0)


@pytest.fixture(scope="module")
def slide(painting, tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "Schnitt mit Kernen ü.svs"
    return write_slide(path, painting.rgb, mpp=0.25, compression="deflate")


@pytest.fixture(scope="module")
def reference(slide, bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "reference"
    run_toy(slide, out, bundle, tissue="none")
    return out


def files_of(out):
    """Every deliverable's bytes by name."""
    found = {}
    for name in DELIVERABLES:
        path = out / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []:
            if file.is_file():
                found[file.relative_to(out).as_posix()] = file.read_bytes()
    return found


def assert_same(one, other):
    first, second = files_of(one), files_of(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_tiled_run_equals_one_pass_over_the_whole_slide(painting, reference, bundle):
    """The oracle: one map, one labelling, one table of the whole slide."""
    frame = Frame(*SIZE)
    loaded = load_bundle(str(bundle))
    whole = Decoding(loaded.head().decode, frame, frame.box, loaded.spec.mpp)
    maps = colour_maps(painting.rgb)
    planes = Planes(maps, as_planes(stains_of(painting.rgb, maps[0]), maps[0]))
    expected = decode_block(planes, frame.box, frame.box, whole).nuclei
    table = pq.read_table(reference / "nuclei.parquet")
    found = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    assert len(found) == len(expected) > 150
    assert {shapely.to_wkb(p) for p in found} == {shapely.to_wkb(p) for p in expected.polygon}
    measured = {name: table[name].to_numpy() for name in MEASUREMENTS}
    here, there = (
        np.lexsort((y, x))
        for x, y in ((table["anchor_x"].to_numpy(), table["anchor_y"].to_numpy()), expected.anchor.T)
    )
    for name, values in measured.items():
        np.testing.assert_array_equal(values[here], getattr(expected, name)[there], err_msg=name)
    assert measured["haematoxylin_od_mean"].min() > 0.1


def test_neighbours_are_those_of_the_whole_slide(reference):
    """The oracle: every distance between two centroids."""
    table = pq.read_table(reference / "nuclei.parquet")
    centroids = np.stack([table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()], axis=1) * 0.25
    distance = np.hypot(*np.moveaxis(centroids[:, None] - centroids, 2, 0))
    np.fill_diagonal(distance, np.inf)
    assert table["neighbours_50um"].to_pylist() == (distance <= NEAR_UM).sum(axis=1).tolist()
    nearest = np.where(distance.min(axis=1) <= FAR_UM, distance.min(axis=1), np.nan)
    np.testing.assert_allclose(table["nearest_um"].to_numpy(), nearest, rtol=1e-6)


def test_every_painted_nucleus_is_found_once(painting, reference):
    labels = zarr.open_array(str(reference / "masks.ome.zarr" / "labels" / "nuclei" / "0"), mode="r")[:]
    assert labels.shape == painting.labels.shape
    for number in range(1, len(painting.nuclei) + 1):
        under, counts = np.unique(labels[painting.labels == number], return_counts=True)
        assert counts.max() / counts.sum() > 0.9, f"nucleus {number} is cut: {under}, {counts}"
        assert under[np.argmax(counts)] != 0, f"nucleus {number} is missing"


def test_table_mask_and_polygons_are_the_same_objects(reference):
    table = pq.read_table(reference / "nuclei.parquet").to_pydict()
    labels = zarr.open_array(str(reference / "masks.ome.zarr" / "labels" / "nuclei" / "0"), mode="r")[:]
    areas = np.bincount(labels.ravel())
    assert sorted(table["id"]) == list(range(1, len(table["id"]) + 1)) == np.flatnonzero(areas)[1:].tolist()
    for number, area in zip(table["id"], table["area_um2"], strict=True):
        assert areas[number] * 0.25**2 == pytest.approx(area, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"batch": 1}, {"batch": 8}, {"batch": 32}, {"workers": 1}, {"workers": 3}],
    ids=lambda change: "-".join(f"{key}{value}" for key, value in change.items()),
)
def test_bytes_do_not_depend_on_batch_or_workers(change, slide, bundle, reference, tmp_path):
    predictor = ColourPredictor(batch=change.pop("batch", 16))
    run_toy(slide, tmp_path / "run", bundle, predictor=predictor, tissue="none", **change)
    assert_same(reference, tmp_path / "run")


def test_both_readers_find_the_same_nuclei(slide, bundle, reference, tmp_path):
    run_toy(slide, tmp_path / "run", bundle, reader="tiffslide", tissue="none")
    first, second = files_of(reference), files_of(tmp_path / "run")
    assert first["nuclei.parquet"] == second["nuclei.parquet"]


def test_each_wanted_tile_is_inferred_once(slide, bundle, tmp_path):
    predictor = ColourPredictor()
    outcome = run_toy(slide, tmp_path / "run", bundle, predictor=predictor)
    tiles = outcome.summary["tiles"]
    assert tiles["tissue"] == tiles["inferred"] == outcome.performance["tiles_inferred"]
    assert tiles["tissue"] + tiles["blank"] + tiles["outside"] == tiles["grid"] == 40 * 36


def test_real_network_gives_the_same_nuclei_for_any_batch(slide, bundle, tmp_path):
    """The bundle's own network, random as its weights are: equal bytes for batches of 1 and 48 tiles."""
    from wsiseg.run import RunSettings, run_slide

    small = write_slide(tmp_path / "small.svs", paint_tissue((900, 700), scattered((900, 700))).rgb)
    for batch in (1, 48):
        settings = RunSettings(slide=small, model=str(bundle), batch=batch, tissue="none", device="cpu")
        run_slide(settings, tmp_path / f"batch{batch}")
    assert_same(tmp_path / "batch1", tmp_path / "batch48")


def test_nuclei_of_a_finer_frame_lie_where_they_are(bundle, tmp_path):
    """A slide at 0.5 um/px through a model at 0.25: the frame is finer than the slide."""
    nuclei = scattered((600, 600), spacing=60)
    painting = paint_tissue((600, 600), nuclei, noise=0)
    slide = write_slide(tmp_path / "coarse.svs", painting.rgb, mpp=0.5, power=20, compression="deflate")
    run_toy(slide, tmp_path / "run", bundle, tissue="none")
    table = pq.read_table(tmp_path / "run" / "nuclei.parquet").to_pydict()
    found = np.array([table["centroid_x"], table["centroid_y"]]).T
    truth = np.array([(n.x, n.y) for n in nuclei])
    distances = np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1))
    assert len(found) == len(truth)
    assert distances.min(axis=0).max() < 0.6


def test_roi_limits_the_run(slide, bundle, tmp_path):
    roi = tmp_path / "roi.geojson"
    ring = [[300, 300], [900, 300], [900, 1000], [300, 1000], [300, 300]]
    roi.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    outcome = run_toy(slide, tmp_path / "run", bundle, roi=roi)
    tiles = outcome.summary["tiles"]
    assert tiles["outside"] > tiles["inferred"] > 0
    table = pq.read_table(tmp_path / "run" / "nuclei.parquet").to_pydict()
    x, y = np.array(table["centroid_x"]), np.array(table["centroid_y"])
    reach = Box(300, 300, 600, 700).grown(TILE_PX)
    assert ((x > reach.x) & (x < reach.right) & (y > reach.y) & (y < reach.bottom)).all()


def test_blank_slide_completes_with_nothing(bundle, tmp_path):
    slide = write_slide(tmp_path / "blank.svs", np.full((700, 700, 3), 243, np.uint8))
    outcome = run_toy(slide, tmp_path / "run", bundle)
    assert outcome.summary["nuclei"] == 0
    assert outcome.summary["tiles"]["inferred"] == 0
    assert any("no tissue" in warning for warning in outcome.summary["warnings"])
    assert RunFolder(tmp_path / "run").completion() is not None
