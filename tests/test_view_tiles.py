"""What the viewer shows is what is in the slide, the mask and the table: no more, no less, and in its place."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from fake_runs import write_run
from PIL import Image
from synthetic import ArraySlide, checkerboard, paint_tissue, write_slide
from view_toy import SIZE, TISSUE, get, paint_and_run, serving

from wsiseg.cohort import CohortRow, write_tables
from wsiseg.errors import DamageError, OutputError, SettingsError, SlideError
from wsiseg.export import ExportHeader
from wsiseg.export.parquet import export_geoparquet
from wsiseg.fsio import partial_name
from wsiseg.geometry import Box, Frame
from wsiseg.models.bundle import ClassSpec
from wsiseg.nuclei import MEASUREMENTS, SURROUNDINGS, Nuclei
from wsiseg.slides import read_box, thumbnail
from wsiseg.view import open_library
from wsiseg.view.density import Density
from wsiseg.view.nuclei import NucleiIndex
from wsiseg.view.outlines import MOST_NUCLEI, Outlines, encode
from wsiseg.view.picture import SlidePicture
from wsiseg.view.pyramid import TILE_PX, Pyramid


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return paint_and_run(tmp_path_factory.mktemp("view"), damaged=True)


@pytest.fixture(scope="module")
def server(run):
    with serving(run[2]) as server:  # the slide lies beside the run, so it is found
        yield server


def image(server, path):
    response, body = get(server, path)
    assert response.status == 200, body
    return Image.open(io.BytesIO(body))


def told(server, path):
    return orjson.loads(get(server, path)[1])


def decoded(data):
    """The answer of a tile of nuclei, read as its docstring says."""
    n, left_out, m = np.frombuffer(data, "<u4", 3).tolist()
    at, found = 12, {}
    for name, kind, length in (
        ("id", "<u4", n), ("first", "<u4", n + 1), ("area_um2", "<f4", n), ("probability", "<f4", n),
        ("vertices", "<f4", 2 * m), ("class_value", "<u1", n),
    ):  # fmt: skip
        found[name] = np.frombuffer(data, kind, length, at)
        at += found[name].nbytes
    assert at == len(data)
    return {**found, "vertices": found["vertices"].reshape(-1, 2), "left_out": left_out}


# -- pyramids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (512, 512), (513, 100), (5000, 3001)])
def test_tiles_of_each_level_partition_it(size):
    pyramid = Pyramid.below(Frame(*size))
    assert max(pyramid.frames[-1].shape) <= TILE_PX
    for level in range(len(pyramid.frames)):
        frame = pyramid.frames[len(pyramid.frames) - 1 - level]
        covered = np.zeros(frame.shape, int)
        for row in range(-(-frame.height // TILE_PX)):
            for column in range(-(-frame.width // TILE_PX)):
                covered[pyramid.tile(level, column, row)[1].slices] += 1
        assert (covered == 1).all()
        assert pyramid.tile(level, -(-frame.width // TILE_PX), 0) is None
    assert pyramid.tile(len(pyramid.frames), 0, 0) is None


# -- the slide ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [None, Box(130, 70, 1700, 1300)])
def test_tiles_are_the_readers_pixels(bounds):
    slide = ArraySlide(checkerboard((2000, 1500), 37), downsamples=(1.0, 4.0), bounds=bounds)
    picture = SlidePicture(slide, *thumbnail(slide, 400))
    levels = len(picture.pyramid.frames)
    for level, column, row in ((levels - 1, 1, 1), (levels - 2, 0, 1)):
        index, box = picture.pyramid.tile(level, column, row)
        expected = read_box(slide, picture.pyramid.frames[index], box)
        assert np.array_equal(picture.tile(level, column, row), expected)


def test_coarse_tiles_come_from_the_overview_and_look_like_the_slide():
    rgb = paint_tissue((3000, 2000), tissue=[Box(400, 300, 1500, 900)]).rgb
    slide = ArraySlide(rgb)
    picture = SlidePicture(slide, *thumbnail(slide, 700))
    slide.reads.clear()
    tile = picture.tile(0, 0, 0)
    assert slide.reads == []
    expected = read_box(slide, picture.pyramid.frames[-1], Box(0, 0, *tile.shape[1::-1]))
    assert np.abs(tile.astype(int) - expected)[2:-2, 2:-2].mean() < 1


def test_without_a_slide_the_overview_is_shown_as_it_is():
    slide = ArraySlide(checkerboard((1400, 900), 50))
    overview, frame = thumbnail(slide, 700)
    picture = SlidePicture(None, overview, frame)
    finest = len(picture.pyramid.frames) - 1
    shown = np.concatenate([picture.tile(finest, column, 0) for column in (0, 1)], axis=1)
    assert np.array_equal(shown, overview[:512])


def test_a_served_tile_is_the_slide_within_the_error_of_jpeg(server, run):
    painting = run[0]
    about = told(server, "/slide/0/about.json")
    assert about["slide_note"] == ""
    tile = np.asarray(image(server, f"/slide/0/picture/{about['picture']['levels'] - 1}/0_0"))
    assert np.abs(tile.astype(int) - painting.rgb[:512, :512]).mean() < 3


# -- the mask -------------------------------------------------------------------------------------------------


def test_mask_tiles_are_the_masks_pixels_in_the_colours_of_their_classes(server, run):
    about = told(server, "/slide/0/about.json")
    values = zarr.open_array(str(run[2] / "masks.ome.zarr/labels/classes/0"), mode="r")[:]
    level = about["mask"]["levels"] - 1
    seen = np.zeros((*values.shape, 4), np.uint8)
    for row in range(3):
        for column in range(3):
            part = np.asarray(image(server, f"/slide/0/mask/{level}/{column}_{row}").convert("RGBA"))
            y, x = row * TILE_PX, column * TILE_PX
            seen[y : y + part.shape[0], x : x + part.shape[1]] = part
    (nucleus,) = (one for one in about["classes"] if one["name"] == "Nucleus")
    assert (seen[values == 1] == (*nucleus["rgb"], 255)).all()
    assert (seen[values == 0, 3] == 0).all()
    unknown = seen[values == 255]
    assert len(unknown) > 0
    assert len(np.unique(unknown, axis=0)) == 2  # stripes
    assert (np.ptp(unknown[:, :3], axis=1) == 0).all()  # grey


def test_places_that_could_not_be_read_are_told(server, run):
    summary = orjson.loads((run[2] / "summary.json").read_bytes())
    assert summary["tiles"]["unreadable"] > 0
    gaps = told(server, "/slide/0/about.json")["gaps"]
    assert len(gaps) == summary["tiles"]["unreadable"]
    assert all(0 <= x < SIZE[0] and 0 <= y < SIZE[1] and w > 0 and h > 0 for x, y, w, h in gaps)


def test_the_tissues_edge_surrounds_it(server):
    (ring,) = told(server, "/slide/0/outline.json")
    # It was looked for at 8 um, 32 px.
    truth = (TISSUE.x, TISSUE.y, TISSUE.right, TISSUE.bottom)
    assert shapely.Polygon(ring).bounds == pytest.approx(truth, abs=50)


# -- nuclei ---------------------------------------------------------------------------------------------------


def test_tiles_hold_each_nucleus_of_the_table_once(server, run):
    table = pq.read_table(run[2] / "nuclei.parquet")
    about = told(server, "/slide/0/nuclei.json")
    side = about["side"]
    found = {}
    for row in range(-(-SIZE[1] // side)):
        for column in range(-(-SIZE[0] // side)):
            tile = decoded(get(server, f"/slide/0/nuclei/{column}_{row}")[1])
            for i, number in enumerate(tile["id"].tolist()):
                vertices = tile["vertices"][tile["first"][i] : tile["first"][i + 1]]
                assert number not in found
                found[number] = vertices.astype(float) + (column * side, row * side)
    assert len(found) == about["total"] == table.num_rows > 400
    polygons = shapely.from_wkb(table["geometry"].to_numpy())
    for number, polygon in zip(table["id"].to_pylist(), polygons, strict=True):
        assert np.abs(found[number] - np.asarray(polygon.exterior.coords)[:-1]).max() < 0.005


def test_a_nucleus_is_told_with_all_its_measurements(server, run):
    row = pq.read_table(run[2] / "nuclei.parquet").slice(17, 1).to_pylist()[0]
    nucleus = told(server, f"/slide/0/nucleus/{row['id']}")
    assert {*MEASUREMENTS, *SURROUNDINGS, "id", "class", "centroid_x", "centroid_y"} <= nucleus[
        "measurements"
    ].keys()
    for name, value in nucleus["measurements"].items():
        assert value == pytest.approx(row[name])
    assert nucleus["bbox"] == list(row["bbox"].values())
    assert nucleus["classes"] == []  # there is but one


def test_density_counts_what_the_table_holds(server, run):
    density = told(server, "/slide/0/nuclei.json")["density"]
    picture = image(server, "/slide/0/density/1").convert("RGBA")
    cell_px = density["width"] / picture.width
    assert cell_px == pytest.approx(density["height"] / picture.height) == pytest.approx(80)  # 20 um
    assert density["top"] > 1000
    assert np.asarray(picture)[..., 3].max() == 255


def test_density_puts_nuclei_where_they_are():
    density = Density(Frame(1000, 500, 1.0, (100.0, 50.0)), 0.5, (7, 2))
    centroids = np.array([[101.0, 51.0], [139.9, 51.0], [140.1, 51.0], [1099.0, 549.0], [5000.0, -9.0], [141, 51]])
    density.add(centroids, np.array([7, 7, 7, 7, 7, 2], np.uint8))
    assert (density.frame.width, density.frame.height, density.frame.downsample) == (25, 13, 40)
    counts = density.counts[7]
    assert (counts[0, 0], counts[0, 1], counts[12, 24]) == (2, 1, 1)
    assert counts.sum() == 5
    assert np.argwhere(density.counts[2]).tolist() == [[0, 1]]


def many_nuclei(count, first_id, corner, extent, rng):
    """Squares of random places and sizes."""
    x, y = (rng.uniform(corner[axis] + 10, corner[axis] + extent - 10, count) for axis in (0, 1))
    half = rng.uniform(3, 8, count)
    plain = {name: rng.random(count).astype(np.float32) for name in (*MEASUREMENTS, *SURROUNDINGS)}
    return replace(
        Nuclei.empty(),
        id=np.arange(first_id, first_id + count, dtype=np.uint32),
        polygon=shapely.box(x - half, y - half, x + half, y + half, ccw=True),
        class_value=rng.integers(1, 3, count).astype(np.uint8),
        class_probability=np.full((count, 2), 0.5, np.float32),
        anchor=np.zeros((count, 2), np.int32),
        centroid_x=x,
        centroid_y=y,
        **plain,
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """100,000 nuclei in 100 blocks of 1024 px: the table and its index, with the row groups that are read."""
    rng = np.random.default_rng(0)
    corners = [(1024 * (block % 10), 1024 * (block // 10)) for block in range(100)]
    batches = [many_nuclei(1000, 1000 * i + 1, corner, 1024, rng) for i, corner in enumerate(corners)]
    classes = (ClassSpec(1, "a", (255, 0, 0)), ClassSpec(2, "b", (0, 255, 0)))
    header = ExportHeader("slide", "0" * 64, 0.5, (0, 0), classes)
    (path,) = export_geoparquet(batches, 100_000, tmp_path_factory.mktemp("large") / "nuclei", header)
    partial_name(path).rename(path)
    seen = []
    return pq.read_table(path), NucleiIndex(path, 0.5, lambda centroids, _: seen.append(centroids)), seen


def test_the_index_of_a_large_table_is_right_and_reads_only_what_a_tile_needs(large, monkeypatch):
    table, index, seen = large
    x, y = table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()
    assert np.array_equal(np.concatenate(seen), np.stack([x, y], 1))
    assert index.side_px == 512
    assert index.total == 100_000
    assert index.class_counts.sum() == 100_000
    read, real = [], NucleiIndex._read
    monkeypatch.setattr(
        NucleiIndex, "_read", lambda self, group, columns=None: read.append(group) or real(self, group, columns)
    )
    total = 0
    for column, row in ((0, 0), (7, 12), (19, 19), (20, 0), (500, 500)):
        tile = decoded(index.tile(column, row))
        inside = (np.floor(x / 512) == column) & (np.floor(y / 512) == row)
        assert sorted(tile["id"].tolist()) == sorted(table["id"].to_numpy()[inside].tolist())
        total += len(tile["id"])
    assert total > 500
    assert len(read) == 3  # one block a tile here, and none where there are no nuclei


def test_many_requests_at_once_decode_a_block_once(large, monkeypatch):
    index = large[1]
    read, real = [], NucleiIndex._read

    def slow(self, group, columns=None):
        read.append(group)
        time.sleep(0.05)
        return real(self, group, columns)

    monkeypatch.setattr(NucleiIndex, "_read", slow)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(index.tile(10, 10))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 1
    assert len(set(answers)) == 1


def test_what_is_kept_of_a_table_is_bounded(large, monkeypatch):
    index = large[1]
    monkeypatch.setattr(index._cache, "_most_bytes", 200_000)
    for column in range(20):
        for row in range(4):
            index.tile(column, row)
    held = list(index._cache._held.values())
    assert sum(one.nbytes for one in held) <= 200_000
    assert len(held) >= 1


def test_a_tile_of_too_many_nuclei_says_how_many_it_leaves_out():
    n = MOST_NUCLEI + 7
    part = Outlines(
        np.zeros((n, 2), np.int64),
        np.arange(n, dtype=np.uint32),
        np.ones(n, np.uint8),
        np.ones(n, np.float32),
        np.ones(n, np.float32),
        np.arange(0, 3 * n + 1, 3, dtype=np.uint32),
        np.zeros((3 * n, 2), np.float32),
    )
    tile = decoded(encode([part, part]))
    assert len(tile["id"]) == MOST_NUCLEI
    assert tile["left_out"] == 2 * n - MOST_NUCLEI


# -- folders --------------------------------------------------------------------------------------------------


def test_only_finished_runs_are_shown(tmp_path, run):
    with pytest.raises(OutputError, match="E-OUT-MISSING"):
        open_library(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(OutputError, match=r"E-OUT-MISSING.*foreign"):
        open_library(tmp_path / "other")
    broken = write_run(tmp_path / "broken")
    (broken / "overview.png").unlink()
    with pytest.raises(DamageError, match="E-DAMAGED"):
        open_library(broken)


def test_another_slide_is_refused(tmp_path, run):
    other = write_slide(tmp_path / "other.svs", paint_tissue((600, 600), noise=0).rgb)
    with pytest.raises(OutputError, match="E-SLIDE-CHANGED"):
        open_library(run[2], other)
    with pytest.raises(SlideError, match="E-SLIDE-MISSING"):
        open_library(run[2], tmp_path / "none.svs")


def test_one_slide_cannot_be_that_of_a_cohort(tmp_path, run):
    write_tables(tmp_path, [CohortRow("one", "one.svs", "waiting")])
    with pytest.raises(SettingsError, match="E-USAGE"):
        open_library(tmp_path, run[1])
    (tmp_path / "cohort.parquet").rename(tmp_path / "cohort.json")
    with pytest.raises(OutputError, match="E-OUT-MISSING"):
        open_library(tmp_path)


def test_a_run_whose_slide_is_elsewhere_shows_its_overview_and_says_so(tmp_path, run):
    library = open_library(run[2])
    entry = replace(library._entries[0], slide=tmp_path / "gone.svs")
    library._entries = (entry,)
    with library.shown(0) as shown:
        assert "not shown" in shown.about()["slide_note"]
        assert shown.picture.tile(0, 0, 0) is not None
        assert shown.outline() == []


def test_a_cohort_lists_all_its_slides_and_opens_those_that_are_finished(tmp_path, run):
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "one-12345678").mkdir()
    for file in run[2].iterdir():
        (folder / "one-12345678" / file.name).symlink_to(file)
    rows = [
        CohortRow("one", str(run[1]), "complete-with-gaps", nuclei=5, folder="one-12345678"),
        CohortRow("two", "<b>two</b>.svs", "failed", code="E-SLIDE-READ", message="<script>"),
        CohortRow("three", "three.svs", "complete", folder="../run"),
    ]
    write_tables(folder, rows)
    with serving(folder) as server:
        assert b"list.js" in get(server, "/")[1]
        listed = told(server, "/slides.json")["slides"]
        assert [(one["number"], one["shown"]) for one in listed] == [(0, True), (1, False), (2, False)]
        assert [get(server, f"/slide/{number}/")[0].status for number in range(4)] == [200, 404, 404, 404]
        assert told(server, "/slide/0/about.json")["cohort"] is True


def test_a_table_that_is_none_is_damage(tmp_path):
    path = tmp_path / "nuclei.parquet"
    path.write_bytes(b"PAR1 and nothing")
    with pytest.raises(DamageError, match="E-DAMAGED"):
        NucleiIndex(path, 0.25, lambda _: None)
