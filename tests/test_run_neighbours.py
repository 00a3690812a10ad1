"""Neighbours block by block against every distance between two nuclei of the slide."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Frame
from wsiseg.nuclei import MEASUREMENTS, SURROUNDINGS, Nuclei
from wsiseg.run.neighbours import FAR_UM, NEAR_UM, Neighbourhood, neighbours_of
from wsiseg.slides.base import Mpp
from wsiseg.tiling import Block, TileGrid


def layout_of(side: int, mpp: float, tile_px: int):
    """What of a layout is asked: a square frame with the slide's own pixels."""
    grid = TileGrid(Frame(side, side), tile_px)
    return SimpleNamespace(
        grid=grid, frame=grid.frame, info=SimpleNamespace(checked_mpp=lambda: Mpp(mpp, mpp, "test"))
    )


def nuclei_at(centroids: np.ndarray) -> Nuclei:
    n = len(centroids)
    plain = {name: np.full(n, np.nan, np.float32) for name in (*MEASUREMENTS, *SURROUNDINGS)}
    return replace(
        Nuclei.empty(),
        id=np.arange(1, n + 1, dtype=np.uint32),
        polygon=np.full(n, None, object),
        class_value=np.ones(n, np.uint8),
        class_probability=np.empty((n, 0), np.float32),
        anchor=np.zeros((n, 2), np.int32),
        centroid_x=centroids[:, 0],
        centroid_y=centroids[:, 1],
        **plain,
    )


def by_block(layout, centroids: np.ndarray) -> dict[Block, np.ndarray]:
    places = np.floor(centroids / layout.grid.block_px).astype(int)
    blocks = sorted({Block(int(y), int(x)) for x, y in places})
    return {block: centroids[(places == (block.column, block.row)).all(axis=1)] for block in blocks}


def every_distance(centroids: np.ndarray, mpp: float) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: (count, nearest), as the columns have them."""
    distance = np.hypot(*np.moveaxis((centroids[:, None] - centroids) * mpp, 2, 0))
    np.fill_diagonal(distance, np.inf)
    nearest = distance.min(axis=1, initial=np.inf)
    return (distance <= NEAR_UM).sum(axis=1), np.where(nearest <= FAR_UM, nearest, np.nan)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 120),
    mpp=st.sampled_from([0.1, 0.25, 0.5, 2.0]),
    tile_px=st.sampled_from([32, 64, 128]),
)
def test_blocks_find_what_the_whole_slide_has(seed, count, mpp, tile_px):
    rng = np.random.default_rng(seed)
    layout = layout_of(4000, mpp, tile_px)
    spread = rng.choice([300.0, 3999.0])
    centroids = np.unique(rng.uniform(0, spread, (count, 2)).round(2), axis=0)
    parts = by_block(layout, centroids)
    neighbourhood = Neighbourhood(layout, parts, parts.__getitem__)
    found = [neighbourhood.surround(block, nuclei_at(part)) for block, part in parts.items()]
    order = np.concatenate([*parts.values(), np.empty((0, 2))])
    counts, nearest = every_distance(order, mpp)
    np.testing.assert_array_equal(np.concatenate([n.neighbours_50um for n in found] or [[]]), counts)
    np.testing.assert_allclose(np.concatenate([n.nearest_um for n in found] or [[]]), nearest, rtol=1e-6)


def test_a_few_rows_of_centroids_are_held():
    layout = layout_of(20 * 512, 1.0, 32)
    centroids = np.random.default_rng(0).uniform(0, 20 * 512, (8000, 2))
    parts = by_block(layout, centroids)
    reads: list[Block] = []

    def read(block):
        reads.append(block)
        return parts[block]

    neighbourhood = Neighbourhood(layout, parts, read)
    most = 0
    for block, part in parts.items():
        neighbourhood.surround(block, nuclei_at(part))
        most = max(most, len(neighbourhood._held))
    assert sorted(reads) == sorted(parts)  # each once
    assert most <= 3 * 20


def test_a_nucleus_alone_has_no_nearest():
    count, nearest = neighbours_of(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [FAR_UM + 0.01, 0.0]]))
    assert count.tolist() == [0]
    assert np.isnan(nearest).tolist() == [True]


def test_limits_belong_to_what_they_limit():
    own = np.array([[0.0, 0.0]])
    count, nearest = neighbours_of(own, np.array([[0.0, 0.0], [NEAR_UM, 0.0]]))
    assert (count[0], nearest[0]) == (1, NEAR_UM)
    assert neighbours_of(own, np.array([[0.0, 0.0], [0.0, FAR_UM]]))[1][0] == FAR_UM


def test_two_at_one_place_are_neighbours():
    own = np.array([[5.0, 5.0], [5.0, 5.0]])
    count, nearest = neighbours_of(own, own)
    assert count.tolist() == [1, 1]
    assert nearest.tolist() == pytest.approx([0, 0])
