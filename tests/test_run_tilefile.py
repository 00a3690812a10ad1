"""The file of a block's tiles: each comes back alone, and whatever is not what was written is an OSError."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.run.tilefile import TileReader, join_tiles, pack_tile, unpack_tile

SIZE = 300


@pytest.fixture(scope="module")
def tiles() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, SIZE, np.uint8) for _ in range(2)]
    return [noise[0], np.zeros(SIZE // 2, np.uint8), noise[1] // 64, np.full(SIZE, 255, np.uint8)]


@pytest.fixture(scope="module")
def content(tiles) -> bytes:
    return join_tiles([pack_tile(tile) for tile in tiles])


def read(content, numbers, count=4):
    reader = TileReader(io.BytesIO(content), count)
    return [unpack_tile(reader.tile(number)) for number in numbers]


def test_each_tile_comes_back_alone(tiles, content):
    for number in (2, 0, 3, 1):
        np.testing.assert_array_equal(read(content, [number])[0], tiles[number])
    assert len(content) < sum(tile.nbytes for tile in tiles)


def test_no_tiles_are_an_empty_file():
    assert read(join_tiles([]), [], 0) == []


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_or_cut_file_is_never_read_as_another(data, tiles, content):
    spoilt = bytearray(content)
    if data.draw(st.booleans()):
        del spoilt[data.draw(st.integers(0, len(spoilt) - 1)) :]
    else:
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    number = data.draw(st.integers(0, 3))
    with suppress(OSError):  # or the damage lies elsewhere
        np.testing.assert_array_equal(read(spoilt, [number])[0], tiles[number])


def test_every_byte_is_checked_by_someone(tiles, content):
    for place in range(len(content)):
        spoilt = bytearray(content)
        spoilt[place] ^= 255
        with pytest.raises(OSError, match="not what was written"):
            read(spoilt, range(len(tiles)))


def test_an_offset_that_cannot_be_is_refused_before_anything_is_read(content):
    spoilt = bytearray(content)
    spoilt[0:8] = (2**63).to_bytes(8, "little")
    with pytest.raises(OSError, match="not what was written"):
        read(spoilt, [1])


def test_another_number_of_tiles_is_refused(content):
    for count in (3, 5):
        with pytest.raises(OSError, match="not what was written"):
            read(content, range(count), count)


def test_the_form_is_numcodecs_lz4(tiles, content):
    """Another program can read it by the description in the module."""
    from numcodecs.lz4 import LZ4

    entries = np.frombuffer(content[:64], "<u8").reshape(4, 2)
    file = io.BytesIO(content)
    file.seek(64)
    for tile, end in zip(tiles, entries[:, 0].tolist(), strict=True):
        found = np.frombuffer(LZ4().decode(file.read(end - file.tell())), np.uint8)
        np.testing.assert_array_equal(found, tile)
