"""Painting and pyramids, each against a naive twin: a loop over runs, and strides of the whole image."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorstore
from hypothesis import given
from hypothesis import strategies as st
from label_truth import NOTHING, by_block, class_of, digests, discs, lookup, make_store, read, stitched

import wsiseg
from wsiseg.geometry import Box, Frame
from wsiseg.stitch import encode_shard, paint, stitch_slide
from wsiseg.tiling import TileGrid


@st.composite
def painted_rows(draw):
    """Runs that never overlap, of several nuclei, partly outside any box that is cut from their plane."""
    cuts = draw(st.lists(st.integers(-9, 40), min_size=0, max_size=12, unique=True).map(sorted))
    rows = draw(st.lists(st.integers(-3, 20), min_size=1, max_size=6, unique=True))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    nuclei = draw(st.integers(1, 4))
    runs = [(draw(st.integers(0, nuclei - 1)), y, *pair) for y in rows for pair in pairs]
    return np.array(runs, np.int32).reshape(-1, 4), nuclei


@given(painted_rows(), st.integers(-4, 12), st.integers(-4, 20), st.integers(0, 20), st.integers(0, 20))
def test_paint_equals_the_loop_over_runs(drawn, x, y, width, height):
    runs, nuclei = drawn
    ids = np.arange(nuclei, dtype=np.uint32) + 4_000_000_000
    values = np.arange(nuclei, dtype=np.uint8) + 1
    box = Box(x, y, width, height)
    labels, classes = paint(box, [(runs[::2], ids, values), NOTHING, (runs[1::2], ids, values)])
    plane = np.zeros((80, 80), np.uint32)
    for nucleus, row, start, stop in runs:
        plane[row + 20, start + 20 : stop + 20] = nucleus + 1
    expected = plane[box.moved(20, 20).slices]
    np.testing.assert_array_equal(labels, np.where(expected > 0, expected + np.uint32(3_999_999_999), 0))
    np.testing.assert_array_equal(classes, expected)
    assert (labels.dtype, classes.dtype) == (np.uint32, np.uint8)


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize(("width", "height", "tile_px"), [(1, 1, 4), (300, 257, 4), (513, 1100, 16), (64, 64, 4)])
def test_every_level_is_the_stride_of_the_whole_image(tmp_path, width, height, tile_px, ngff):
    grid = TileGrid(Frame(width, height), tile_px)
    labels = discs(grid.frame)
    arrays = stitched(tmp_path / "masks.ome.zarr", grid, labels, ngff)
    for level, (nuclei, classes) in enumerate(zip(arrays.nuclei, arrays.classes, strict=True)):
        step = 2**level
        np.testing.assert_array_equal(read(nuclei), labels[::step, ::step])
        np.testing.assert_array_equal(read(classes), class_of(labels)[::step, ::step])


def test_a_large_odd_frame_keeps_its_foreground_at_every_level(tmp_path):
    grid = TileGrid(Frame(5000, 4097), tile_px=64)
    labels = discs(grid.frame, radius=12)
    arrays = stitched(tmp_path / "masks.ome.zarr", grid, labels)
    np.testing.assert_array_equal(read(arrays.nuclei[0]), labels)
    fraction = (labels > 0).mean()
    for level, path in enumerate(arrays.classes[:5]):
        assert (read(path) > 0).mean() == pytest.approx(fraction, rel=0.02), level


def test_a_nucleus_on_a_corner_of_four_blocks_has_one_id(tmp_path):
    grid = TileGrid(Frame(128, 128), tile_px=4)
    labels = np.zeros(grid.frame.shape, np.uint32)
    labels[60:70, 58:69] = 7
    arrays = stitched(tmp_path / "masks.ome.zarr", grid, labels)
    np.testing.assert_array_equal(read(arrays.nuclei[0]), labels)
    assert len(list((arrays.nuclei[0] / "c").rglob("?"))) == 2 + 4


def test_progress_counts_every_shard_and_only_filled_ones_are_written(tmp_path):
    grid = TileGrid(Frame(640, 1100), tile_px=16)
    labels = np.zeros(grid.frame.shape, np.uint32)
    labels[300:310, 100:110] = 1
    arrays = make_store(tmp_path / "masks.ome.zarr", grid)
    seen = []
    written = stitch_slide(
        grid,
        partial(lookup, by_block(grid, labels)),
        nuclei=arrays.nuclei,
        classes=arrays.classes,
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    shards = 5 * 3 + 3 * 2 + 2 * 1
    assert seen == [(done, shards) for done in range(1, shards + 1)]
    assert written == 3 == sum(len([f for f in (path / "c").rglob("*") if f.is_file()]) for path in arrays.nuclei)


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path, ngff):
    grid = TileGrid(Frame(700, 900), tile_px=16)
    labels = discs(grid.frame)
    for workers in (1, 4):
        stitched(tmp_path / str(workers), grid, labels, ngff, workers)
    assert digests(tmp_path / "1") == digests(tmp_path / "4")


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same_bytes(tmp_path):
    distributed = pytest.importorskip("distributed")
    grid = TileGrid(Frame(300, 200), tile_px=4)
    labels = discs(grid.frame)
    stitched(tmp_path / "threads", grid, labels)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        stitched(tmp_path / "cluster", grid, labels, workers=client)
    assert digests(tmp_path / "threads") == digests(tmp_path / "cluster")


def test_a_slide_without_nuclei_writes_no_shard(tmp_path):
    grid = TileGrid(Frame(300, 257), tile_px=4)
    arrays = stitched(tmp_path / "masks.ome.zarr", grid, np.zeros(grid.frame.shape, np.uint32))
    for path in (*arrays.nuclei, *arrays.classes):
        assert not read(path).any()
        assert [file.name for file in path.rglob("*") if file.is_file()] == ["zarr.json"]


def test_an_error_in_a_task_reaches_the_caller(tmp_path):
    grid = TileGrid(Frame(100, 100), tile_px=4)
    arrays = make_store(tmp_path / "masks.ome.zarr", grid)

    def load(block):
        raise LookupError(block.name)

    with pytest.raises(LookupError, match="r00"):
        stitch_slide(grid, load, nuclei=arrays.nuclei, classes=arrays.classes, workers=2)


@pytest.mark.parametrize("shape", [(64, 64), (64, 9), (1, 1), (33, 64)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_an_encoded_shard_is_the_one_that_zarr_reads(tmp_path, shape, dtype):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 2, (8, 8)), np.ones((8, 8)))[: shape[0], : shape[1]].astype(dtype) * 200
    grid = TileGrid(Frame(shape[1], shape[0]), tile_px=4)
    arrays = make_store(tmp_path / "masks.ome.zarr", grid)
    path = {np.uint8: arrays.classes, np.uint32: arrays.nuclei}[dtype][0]
    (path / "c" / "0").mkdir(parents=True)
    (path / "c" / "0" / "0").write_bytes(encode_shard(pixels, chunk_px=8, chunks=8))
    np.testing.assert_array_equal(read(path), pixels)
    store = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    np.testing.assert_array_equal(tensorstore.open(store).result().read().result(), pixels)


def test_a_flipped_bit_is_an_error_and_never_another_label(tmp_path):
    grid = TileGrid(Frame(64, 64), tile_px=4)
    arrays = stitched(tmp_path / "masks.ome.zarr", grid, discs(grid.frame))
    shard = arrays.nuclei[0] / "c" / "0" / "0"
    good = shard.read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(good), 60, replace=False):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        shard.write_bytes(bad)
        with pytest.raises((RuntimeError, ValueError)):
            read(arrays.nuclei[0])


def test_dask_never_writes_an_array_itself():
    package = Path(wsiseg.__file__).parent
    sources = [path for path in package.rglob("*.py") if "to_zarr" in path.read_text("utf-8")]
    assert sources == []


def test_importing_the_modules_loads_neither_dask_nor_zarr():
    code = "import sys, wsiseg.stitch, wsiseg.export.omezarr; print({'dask', 'zarr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
