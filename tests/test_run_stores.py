"""The maps of blocks on disk against one image of the whole frame: any box of it comes back as it was written."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box, Frame
from wsiseg.run import stores
from wsiseg.run.plan import Layout
from wsiseg.run.stores import MapStore
from wsiseg.stains import as_planes, stains_of
from wsiseg.tiling import TileGrid

TILE, FRAME = 8, Frame(300, 200)
KINDS = ("not wanted", "nothing", "core alone", "nuclei")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store of tiles of every kind, and what it holds as one (4, h, w) image."""
    rng = np.random.default_rng(0)
    grid = TileGrid(FRAME, TILE)
    kinds = rng.integers(0, len(KINDS), grid.shape)
    layout = SimpleNamespace(grid=grid, wanted=kinds > 0)
    layout.tiles_of = partial(Layout.tiles_of, layout)
    store = MapStore(tmp_path_factory.mktemp("work"), layout, 2)
    whole = np.zeros((4, grid.shape[0] * TILE, grid.shape[1] * TILE), np.uint8)
    for block in grid.blocks:
        packed = []
        for row, column in layout.tiles_of(block):
            maps, rgb = (rng.integers(0, 256, shape, np.uint8) for shape in ((2, TILE, TILE), (TILE, TILE, 3)))
            maps[: {"nothing": 2, "core alone": 1}.get(KINDS[kinds[row, column]], 0)] = 0
            packed.append(store.pack(maps, rgb))
            here = np.s_[:, row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            whole[here] = np.concatenate([maps, as_planes(stains_of(rgb, maps[0]), maps[0])])
        store.write(block, packed)
    return store, whole


@settings(max_examples=60, deadline=None)
@given(x=st.integers(0, 299), y=st.integers(0, 199), width=st.integers(1, 300), height=st.integers(1, 200))
def test_any_box_comes_back_as_it_was_written(written, x, y, width, height):
    store, whole = written
    box = Box(x, y, width, height).intersection(FRAME.box)
    planes = store.read(box)
    np.testing.assert_array_equal(np.concatenate([planes.maps, planes.stains]), whole[:, *box.slices])


def test_what_holds_nothing_is_not_unpacked(written, monkeypatch):
    store, whole = written
    monkeypatch.setattr(stores, "unpack_tile", lambda _: pytest.fail("unpacked"))
    tiles = whole.reshape(4, whole.shape[1] // TILE, TILE, -1, TILE)
    row, column = np.argwhere(~tiles.any((0, 2, 4)))[0].tolist()
    assert not store.read(Box(column * TILE, row * TILE, TILE, TILE)).maps.any()
