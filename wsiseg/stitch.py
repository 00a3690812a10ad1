"""Nuclei of blocks -> the slide's label pyramids. Dask schedules the shards; knows no NGFF and no network.

One task owns one shard: it alone writes it, whole. Between tasks go paths, numbers and one bool a shard, so the
same graph runs on this machine's threads and on any Dask cluster that sees the same files. Arrays of pixels never
enter the graph: dask writes shards that its chunks do not match wrongly and without an error (dask#12583,
zarr-python#3682).
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wsiseg.fsio import explained, read, write_atomic
from wsiseg.geometry import Box
from wsiseg.nuclei import expand_ranges
from wsiseg.tiling import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import zarr

    from wsiseg.tiling import TileGrid

    Part = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32], npt.NDArray[np.uint8]]
    """Nuclei to paint: runs (m, 4), and of each nucleus its id (n,) and class value (n,).

    A run is (index of its nucleus, y, x start, x stop) in pixels of the grid's frame, half-open.
    """

    Level = tuple[Path, Path]
    """The zarr arrays (nuclei, classes) of one level of the pyramids."""


_RUNS_AT_ONCE = 1 << 12
"""Runs whose pixels are painted together: their places stay in the processor's cache, and take no memory."""


class Client(Protocol):
    """What is needed of a `distributed.Client`; distributed itself is not imported."""

    def compute(self, collections: list[Any], /) -> list[Any]:
        """Start tasks and give their futures."""

    def gather(self, futures: list[Any], /) -> list[Any]:
        """Wait for futures and give their results."""


def stitch_slide(
    grid: TileGrid,
    load: Callable[[Block], Part],
    *,
    nuclei: Sequence[Path],
    classes: Sequence[Path],
    workers: int | Client = 1,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Paint the nuclei of all blocks and build the pyramids above them.

    Parameters
    ----------
    load
        Gives the nuclei that a block owns, with their ids in the whole slide; arrays of length 0 where it owns
        none. Called up to nine times a block, from several threads; on a cluster it is pickled.
    nuclei, classes
        The zarr arrays of each level, finest first, all background. A shard (or, without shards, a whole number of
        chunks) is `grid.block_px` wide; each level has half the size of the one before, rounded up.
    workers
        Threads on this machine, or a Dask client.
    progress
        Told (shards done, shards in all) after every shard; not from the calling thread if there is a client.

    Returns
    -------
    int
        Shards that hold a nucleus; the others are not written.
    """
    tasks = _graph(grid, load, list(zip(nuclei, classes, strict=True)))
    counter = _Counter(len(tasks), progress)
    if isinstance(workers, int):
        return sum(_compute_here(tasks, workers, counter))
    futures = workers.compute(tasks)
    for future in futures:
        future.add_done_callback(counter)
    return sum(workers.gather(futures))


class _Counter:
    """Counts finished tasks, whatever the scheduler passes to its callback."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done = 0
        self._total = total
        self._progress = progress

    def __call__(self, *_: object) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _compute_here(tasks: list[Any], threads: int, counter: _Counter) -> Sequence[bool]:
    import dask
    from dask.callbacks import Callback
    from dask.threaded import get

    with Callback(posttask=counter):
        # The function and not its name, for which dask would load all of distributed: half a second.
        results: Sequence[bool] = dask.compute(*tasks, scheduler=get, num_workers=threads)
    return results


def _graph(grid: TileGrid, load: Callable[[Block], Part], levels: Sequence[Level]) -> list[Any]:
    """Make the tasks: one a shard of every level, each after the shards that it reads."""
    from dask import delayed

    # A partial is opaque to dask, which would otherwise take grids and paths apart, once a task.
    painter = delayed(partial(_paint_shard, grid, load, levels[0]), name="paint", pure=False)
    below = {(block.row, block.column): painter(block.row, block.column) for block in grid.blocks}
    tasks = list(below.values())
    for source, target in pairwise(levels):
        halver = delayed(partial(_halve_shards, grid.block_px, source, target), name="halve", pure=False)
        parents = defaultdict(list)
        for (row, column), task in below.items():
            parents[row // 2, column // 2].append(task)
        below = {place: halver(*place, *parents[place]) for place in parents}
        tasks += below.values()
    return tasks


def _paint_shard(grid: TileGrid, load: Callable[[Block], Part], target: Level, row: int, column: int) -> bool:
    """Write one shard of level 0; give whether it holds a nucleus."""
    block = Block(row, column)
    box = grid.block_box(block)
    # A nucleus belongs to one block, and its pixels may lie in the next.
    labels, classes = paint(box, map(load, grid.neighbours(block)))
    return _write_level(target, box, labels, classes)


def _halve_shards(shard_px: int, source: Level, target: Level, row: int, column: int, *filled: bool) -> bool:
    """Write one shard from the up to four below it; `filled` says which of them hold anything."""
    if not any(filled):
        return False
    height, width = _open(target[0]).shape
    whole = Box(column * shard_px, row * shard_px, shard_px, shard_px)
    box = whole.intersection(Box(0, 0, width, height))
    labels, classes = (_every_second(path, box) for path in source)
    return _write_level(target, box, labels, classes)


def _every_second(path: Path, box: Box) -> npt.NDArray[Any]:
    """Read every second pixel of an array: those that a shard of the next level, `box` there, consists of."""
    array = _open(path)
    if array.shards is None:
        return np.asarray(array[2 * box.y : 2 * box.bottom : 2, 2 * box.x : 2 * box.right : 2])
    (side, _), (chunk_px, _) = array.shards, array.chunks
    pixels = np.zeros(box.shape, array.dtype)
    # Chunk by chunk, so that four shards of pixels are never in memory together.
    for row, column in np.ndindex(2, 2):
        shard = _shard_path(path, 2 * box.y // side + row, 2 * box.x // side + column)
        if shard.exists():
            below = pixels[row * side // 2 :, column * side // 2 :]
            for y, x, chunk in decode_shard(read(shard), chunk_px, side // chunk_px, array.dtype):
                target = below[y // 2 : (y + chunk_px) // 2, x // 2 : (x + chunk_px) // 2]
                target[:] = chunk[::2, ::2][: target.shape[0], : target.shape[1]]
    return pixels


def _write_level(target: Level, box: Box, labels: npt.NDArray[np.uint32], classes: npt.NDArray[np.uint8]) -> bool:
    """Write one shard of both arrays; give whether there was anything to write."""
    named, classed = bool(labels.any()), bool(classes.any())
    if named:
        _write_shard(target[0], box, labels)
    if classed:  # also where no nucleus is: a class may say that a place is unknown
        _write_shard(target[1], box, classes)
    return named or classed


def _open(path: Path) -> zarr.Array[Any]:
    """Open an array for a task."""
    import zarr

    # Dask runs one task a thread; ten more threads of zarr's for each of them would fight over the cores. It stays
    # set in this process: a context manager would race with the tasks beside this one.
    zarr.config.set({"async.concurrency": 1})
    return zarr.open_array(str(path), mode="r+")


def _write_shard(path: Path, box: Box, pixels: npt.NDArray[Any]) -> None:
    """Write one whole shard of an array."""
    array = _open(path)
    if array.shards is None:
        with explained(path):
            array[box.slices] = pixels
    else:
        (side, _), (chunk_px, _) = array.shards, array.chunks
        shard = _shard_path(path, box.y // side, box.x // side)
        write_atomic(shard, encode_shard(pixels, chunk_px, side // chunk_px))


def _shard_path(path: Path, row: int, column: int) -> Path:
    """Give the file of an array's shard."""
    return path / "c" / str(row) / str(column)


def encode_shard(pixels: npt.NDArray[Any], chunk_px: int, chunks: int) -> bytes:
    """Encode one shard of `chunks` x `chunks` chunks, as zarr would, in a third of the time.

    zarr 3.1 sends every chunk of every thread through one event loop, where 4096 px of labels take 0.28 s against
    0.08 s here, and more threads do not help.

    Parameters
    ----------
    pixels
        (height, width): what of the shard lies inside the array.

    Notes
    -----
    Zarr v3, codec `sharding_indexed` 1.0: the chunks that hold anything, each zstd with a checksum, then (offset,
    length) of every chunk as little-endian uint64, 2**64 - 1 twice for one that is not there, then the index's
    CRC-32C.
    """
    from numcodecs.checksum32 import CRC32C  # type: ignore[import-untyped]
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

    zstd = Zstd(level=3, checksum=True)
    index = np.full((chunks, chunks, 2), 2**64 - 1, "<u8")
    parts: list[bytes] = []
    size = 0
    for row, column in np.ndindex(chunks, chunks):
        y, x = row * chunk_px, column * chunk_px
        inside = pixels[y : y + chunk_px, x : x + chunk_px]
        if not inside.any():
            continue
        chunk = np.zeros((chunk_px, chunk_px), pixels.dtype.newbyteorder("<"))
        chunk[: inside.shape[0], : inside.shape[1]] = inside
        parts.append(zstd.encode(chunk))
        index[row, column] = size, len(parts[-1])
        size += len(parts[-1])
    return b"".join([*parts, CRC32C().encode(index)])


def decode_shard(
    data: bytes, chunk_px: int, chunks: int, dtype: npt.DTypeLike
) -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
    """Give the chunks that `encode_shard` wrote, each with its first y and x in the shard.

    zarr would take three times as long, for the same reason as above.
    """
    from numcodecs.checksum32 import CRC32C
    from numcodecs.zstd import Zstd

    index_bytes = 16 * chunks**2 + 4
    index = np.frombuffer(CRC32C().decode(data[-index_bytes:]), "<u8").reshape(chunks, chunks, 2)
    zstd, stored = Zstd(), np.dtype(dtype).newbyteorder("<")
    for row, column in np.argwhere(index[..., 0] != 2**64 - 1).tolist():
        offset, length = index[row, column].tolist()
        chunk = np.frombuffer(zstd.decode(data[offset : offset + length]), stored)
        yield row * chunk_px, column * chunk_px, chunk.reshape(chunk_px, chunk_px)


def paint(box: Box, parts: Iterable[Part]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """Draw nuclei into a box, cut at its edges.

    Parameters
    ----------
    parts
        Nuclei in the box's frame. Runs never overlap, so their order does not matter.

    Returns
    -------
    labels, classes
        (height, width): the id and the class value of each pixel's nucleus, 0 where there is none.
    """
    labels = np.zeros(box.shape, np.uint32)
    classes = np.zeros(box.shape, np.uint8)
    for runs, ids, values in parts:
        nucleus, first, lengths = _inside(box, runs)
        for begin in range(0, len(nucleus), _RUNS_AT_ONCE):
            some = slice(begin, begin + _RUNS_AT_ONCE)
            pixels = expand_ranges(first[some], lengths[some])
            labels.reshape(-1)[pixels] = np.repeat(ids[nucleus[some]], lengths[some])
            classes.reshape(-1)[pixels] = np.repeat(values[nucleus[some]], lengths[some])
    return labels, classes


def _inside(
    box: Box, runs: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """Cut runs at a box's edges: each one's nucleus, first pixel in the flattened box, and length."""
    nucleus, y, start, stop = runs[(runs[:, 1] >= box.y) & (runs[:, 1] < box.bottom)].T
    start, stop = np.maximum(start, box.x), np.minimum(stop, box.right)
    first = (y - box.y).astype(np.intp) * box.width + (start - box.x)
    return nucleus, first, np.maximum(stop - start, 0)
