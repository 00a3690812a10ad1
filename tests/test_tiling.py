"""Tiles partition the frame, and windows cover the wanted tiles whoever asks."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.cutting import Pixels, cheapest_cut
from wsiseg.geometry import Box, Frame
from wsiseg.tiling import Block, TileGrid, Window

small = st.integers(1, 180)
grids = st.builds(lambda w, h, side: TileGrid(Frame(w, h), side), small, small, st.sampled_from([4, 8, 32]))
quick = settings(max_examples=50, deadline=None)


@given(grids)
@quick
def test_cores_partition_the_frame(grid):
    owners = np.zeros(grid.frame.shape, int)
    rows, columns = grid.shape
    for row in range(rows):
        for column in range(columns):
            assert not grid.core(row, column).empty
            owners[grid.core(row, column).slices] += 1
    assert (owners == 1).all()


@given(grids)
@quick
def test_blocks_partition_the_frame_and_its_tiles(grid):
    pixels, tiles = np.zeros(grid.frame.shape, int), np.zeros(grid.shape, int)
    for block in grid.blocks:
        pixels[grid.block_box(block).slices] += 1
        tiles[grid.block_tiles(block)] += 1
        top, left = (part.start for part in grid.block_tiles(block))
        assert grid.core(top, left).intersection(grid.block_box(block)) == grid.core(top, left)
    assert (pixels == 1).all()
    assert (tiles == 1).all()
    assert len({block.name for block in grid.blocks}) == grid.block_shape[0] * grid.block_shape[1]


@given(grids)
@quick
def test_neighbours_are_mutual_and_touch(grid):
    for block in grid.blocks:
        around = grid.neighbours(block)
        assert block in around
        assert list(around) == sorted(set(around))
        for other in grid.blocks:
            touches = not grid.block_box(block).grown(1).intersection(grid.block_box(other)).empty
            assert touches == (other in around) == (block in grid.neighbours(other))


@given(grids, st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.5, 1.0]))
@quick
def test_windows_cover_the_wanted_tiles_once(grid, span, seed, share):
    wanted = np.random.default_rng(seed).random(grid.shape) < share
    covered = np.zeros(grid.shape, int)
    for block in grid.blocks:
        rows, columns = grid.block_tiles(block)
        for window in grid.windows(block, wanted, span, halo_px=seed % 7):
            assert max(window.rows, window.columns) <= span
            assert rows.start <= window.first_row
            assert window.first_row + window.rows <= rows.stop
            assert columns.start <= window.first_column
            assert window.first_column + window.columns <= columns.stop
            part = (
                slice(window.first_row, window.first_row + window.rows),
                slice(window.first_column, window.first_column + window.columns),
            )
            covered[part] += 1
            assert wanted[part].any(), "no window without a wanted tile"
    assert (covered[wanted] == 1).all()
    assert covered.max(initial=0) <= 1


def lattice_pixels(wanted, pixels):
    """What windows on a lattice, trimmed to the wanted tiles, would cost."""
    total, span = 0, pixels.span
    for row, column in product(range(0, wanted.shape[0], span), range(0, wanted.shape[1], span)):
        ys, xs = np.nonzero(wanted[row : row + span, column : column + span])
        total += pixels.of(int(np.ptp(ys)) + 1, int(np.ptp(xs)) + 1) if len(ys) else 0
    return total


def fewest_pixels(wanted, pixels):
    """Try every way to cut: what the clever way is measured against."""
    rows, columns = wanted.shape
    if not wanted.any():
        return 0
    return min(
        [
            pixels.of(rows, columns),
            *(fewest_pixels(wanted[:y], pixels) + fewest_pixels(wanted[y:], pixels) for y in range(1, rows)),
            *(
                fewest_pixels(wanted[:, :x], pixels) + fewest_pixels(wanted[:, x:], pixels)
                for x in range(1, columns)
            ),
        ]
    )


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**16 - 1), st.integers(0, 8))
@quick
def test_no_other_cut_has_fewer_pixels(rows, columns, span, bits, halo_px):
    wanted = np.array([bits >> i & 1 for i in range(rows * columns)], bool).reshape(rows, columns)
    pixels = Pixels(span, 4, halo_px)
    found = cheapest_cut(wanted, pixels)
    assert sum(pixels.of(*size) for _, _, *size in found) == fewest_pixels(wanted, pixels)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.6, 0.9, 1.0]))
@quick
def test_a_block_costs_no_more_than_windows_on_a_lattice(seed, share):
    wanted = np.random.default_rng(seed).random((16, 16)) < share
    pixels = Pixels(4, 256, 32)
    found = cheapest_cut(wanted, pixels)
    assert sum(pixels.of(*size) for _, _, *size in found) <= lattice_pixels(wanted, pixels)
    if share == 1:
        assert found == [(row, column, 4, 4) for row, column in product(range(0, 16, 4), repeat=2)]


def test_a_window_reaches_a_halo_beyond_its_tiles():
    grid = TileGrid(Frame(5000, 5000))
    assert grid.block_px == 4096
    assert grid.block_shape == (2, 2)
    assert grid.window_box(Window(2, 3, 1, 2), halo_px=32) == Box(736, 480, 576, 320)
    assert grid.window_box(Window(0, 0, 1, 1), halo_px=32) == Box(-32, -32, 320, 320)
    assert Block(3, 12).name == "r003c012"


def test_where_all_is_wanted_windows_are_full_and_the_rest_comes_last():
    found = cheapest_cut(np.ones((4, 10), bool), Pixels(4, 256, 32))
    assert found == [(0, 0, 4, 4), (0, 4, 4, 4), (0, 8, 4, 2)]
