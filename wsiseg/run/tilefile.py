"""A block's tiles in one file, each compressed by itself: a neighbour reads just those along the common edge.

Little-endian: of each tile the offset of its end and its CRC-32 (two uint64), then the tiles one after another, as
numcodecs' LZ4 writes them. What a tile's bytes mean is not known here.
"""

from __future__ import annotations

import errno
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_ENTRY = np.dtype([("end", "<u8"), ("crc", "<u8")])


def pack_tile(content: npt.NDArray[np.uint8]) -> bytes:
    """Compress a tile's bytes. LZ4: zstd makes a quarter less of them and takes twice the time."""
    from numcodecs.lz4 import LZ4  # type: ignore[import-untyped]

    data: bytes = LZ4().encode(content)
    return data


def unpack_tile(data: bytes) -> npt.NDArray[np.uint8]:
    """Give the bytes that `pack_tile` compressed."""
    from numcodecs.lz4 import LZ4

    return np.frombuffer(LZ4().decode(data), np.uint8)


def join_tiles(tiles: Sequence[bytes]) -> bytes:
    """Give the content of a file of packed tiles."""
    index = np.empty(len(tiles), _ENTRY)
    index["end"] = index.nbytes + np.cumsum([len(tile) for tile in tiles], dtype=np.int64)
    index["crc"] = [zlib.crc32(tile) for tile in tiles]
    return b"".join([index.tobytes(), *tiles])


class TileReader:
    """Reads single tiles of an open file. Read, not mapped: a failing disk is then an error and not a signal.

    Parameters
    ----------
    count
        Number of tiles in the file.

    Raises
    ------
    OSError
        EIO: the file, or a tile that is asked for later, is not what was written.
    """

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file = file
        index = np.frombuffer(self._read(0, count * _ENTRY.itemsize), _ENTRY)
        self._ends = [index.nbytes, *index["end"].tolist()]
        self._crcs = index["crc"].tolist()
        if self._ends != sorted(self._ends) or self._ends[-1] != file.seek(0, os.SEEK_END):
            raise _damaged()

    def tile(self, number: int) -> bytes:
        """Give a tile by its place in the file, as `pack_tile` made it."""
        data = self._read(self._ends[number], self._ends[number + 1])
        if zlib.crc32(data) != self._crcs[number]:
            raise _damaged()
        return data

    def _read(self, begin: int, end: int) -> bytes:
        self._file.seek(begin)
        data = self._file.read(end - begin)
        if len(data) < end - begin:
            raise _damaged()
        return data


def _damaged() -> OSError:
    return OSError(errno.EIO, "the file is not what was written")
