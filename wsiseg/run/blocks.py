"""The work on single blocks: tiles to maps, maps to nuclei. Any process may do it, in any order.

A block's result is a file under its final name and an `Entry` that says so; whether the entry counts is decided
by whoever keeps the ledger. Done twice, the same bytes are written twice.
"""

from __future__ import annotations

import time
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.errors import InternalError
from wsiseg.instances import Decoding, decode_block
from wsiseg.run.gaps import read_window
from wsiseg.run.stores import MapStore, NucleiStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.predict import Predictor
    from wsiseg.run.gaps import Tiles
    from wsiseg.run.ledger import Entry
    from wsiseg.run.meter import Meter
    from wsiseg.run.plan import Layout
    from wsiseg.slides import PatchedSlide
    from wsiseg.tiling import Block, Window

    Read = tuple[npt.NDArray[np.uint8], Tiles]
    """A window's pixels, and its tiles that could not be read."""

WINDOW_TILES = 4
"""Side of a window in tiles: a halo of 32 px costs 1.13 times the work, around single tiles 1.56 times."""

READS_QUEUED = 2
"""Reads that wait for the process that reads, beside those that it is at: so it never waits for this one."""


_BLOCKS_AHEAD = 64
"""Blocks whose windows are kept: those that are read while others are inferred."""


class BlockWork:
    """What is done to the blocks of one run.

    Parameters
    ----------
    work
        The run's working folder.
    """

    def __init__(self, layout: Layout, work: Path) -> None:
        self._layout = layout
        self._grid = layout.grid
        self._head = layout.bundle.head()
        spec = layout.bundle.spec
        self._decoding = Decoding(
            self._head.decode,
            layout.frame,
            layout.info.area,
            spec.mpp,
            classes=tuple(one.value for one in spec.classes),
        )
        self._maps = MapStore(work, layout, len(self._head.maps))
        self._nuclei = NucleiStore(work)
        self.windows = lru_cache(_BLOCKS_AHEAD)(self._cut)
        """Give a block's windows with equal shapes next to each other, so that they can share a batch."""

    # -- tiles to maps ------------------------------------------------------------------------------------

    def infer(
        self,
        blocks: Sequence[Block],
        predictor: Predictor,
        pool: PatchedSlide,
        readers: ThreadPoolExecutor,
        meter: Meter,
    ) -> Iterator[tuple[Block, Entry]]:
        """Write each block's maps, reading ahead of the network and across the blocks."""
        windows = (window for block in blocks for window in self.windows(block))
        pixels = self._read_ahead(windows, predictor, pool, readers)
        for block in blocks:
            tiles: dict[tuple[int, int], bytes] = {}
            lost: list[tuple[int, int]] = []
            packing = []
            inferred = self._inferred(_batches(self.windows(block), predictor), pixels, predictor, meter)
            for window, image, gaps, maps in inferred:
                lost += gaps
                # On another thread, so that the network need not wait for it.
                packing.append(readers.submit(self._pack, window, image, gaps, maps))
                meter.count(len(self._tiles_of(window)))
            for future in packing:
                tiles |= future.result()
            yield block, self._maps.write(block, [tiles[place] for place in sorted(tiles)], tuple(sorted(lost)))

    def _inferred(
        self, batches: Iterable[list[Window]], pixels: Iterator[Read], predictor: Predictor, meter: Meter
    ) -> Iterator[tuple[Window, npt.NDArray[np.uint8], Tiles, npt.NDArray[np.uint8]]]:
        """Give each window's pixels, lost tiles and (channels, h, w) maps, all with its halo."""
        for batch in batches:
            started = time.perf_counter()
            images, gaps = zip(*(next(pixels) for _ in batch), strict=True)
            stacked = images[0][None] if len(images) == 1 else np.stack(images)  # no copy of what stands alone
            read = time.perf_counter()
            try:
                found = predictor.predict(stacked)
            except InternalError as error:
                raise InternalError(error.code, error.what, where=_place(batch), fix=error.fix) from error
            meter.read_wait += read - started
            meter.forward += time.perf_counter() - read
            yield from zip(batch, stacked, gaps, found, strict=True)

    def _cut(self, block: Block) -> list[Window]:
        windows = self._grid.windows(block, self._layout.wanted, WINDOW_TILES, self._layout.halo_px)
        return sorted(windows, key=lambda window: (window.rows, window.columns))

    def _read_ahead(
        self, windows: Iterable[Window], predictor: Predictor, pool: PatchedSlide, readers: ThreadPoolExecutor
    ) -> Iterator[Read]:
        """Give the pixels of each window in order; threads read the next two batches meanwhile."""
        waiting: deque[Future[Read]] = deque()
        try:
            for window in windows:
                waiting.append(readers.submit(read_window, pool, self._layout, window))
                if len(waiting) > 3 + 2 * predictor.batch // WINDOW_TILES**2:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # given up: nobody will look at them
                future.cancel()

    def _tiles_of(self, window: Window) -> list[tuple[int, int]]:
        """Give the (row, column) of a window's wanted tiles."""
        places = np.argwhere(self._layout.wanted[window.tiles]) + (window.first_row, window.first_column)
        return [(int(row), int(column)) for row, column in places]

    def _pack(
        self, window: Window, image: npt.NDArray[np.uint8], gaps: Tiles, maps: npt.NDArray[np.uint8]
    ) -> dict[tuple[int, int], bytes]:
        """Cut a window's wanted tiles out and make them what is stored."""
        side, halo = self._grid.tile_px, self._layout.halo_px
        packed = {}
        for row, column in self._tiles_of(window):
            y = halo + (row - window.first_row) * side
            x = halo + (column - window.first_column) * side
            area = slice(y, y + side), slice(x, x + side)
            lost = (row, column) in gaps
            packed[row, column] = self._maps.pack_lost() if lost else self._maps.pack(maps[:, *area], image[area])
        return packed

    # -- maps to nuclei -----------------------------------------------------------------------------------

    def decode(self, block: Block) -> Entry:
        """Write a block's nuclei; its maps and those of the blocks that touch it must be there."""
        box = self._grid.block_box(block)
        window = box.grown(self._head.margin_px).intersection(self._layout.frame.box)
        result = decode_block(self._maps.read(window), window, box, self._decoding)
        facts = {"oversized": result.oversized, "repaired": result.repaired, "outside": result.outside}
        return self._nuclei.write(block, result.nuclei, facts)


def _place(windows: Sequence[Window]) -> str:
    """Name the tiles of a batch by its first one."""
    return f"tiles from row {windows[0].first_row}, column {windows[0].first_column} on"


def _batches(windows: list[Window], predictor: Predictor) -> Iterator[list[Window]]:
    """Cut a list of windows into runs of one shape, as large as the predictor takes at the moment."""
    start = 0
    while start < len(windows):
        first = windows[start]
        room = max(predictor.batch // (first.rows * first.columns), 1)
        shape = first.rows, first.columns
        stop = start + 1
        while stop < len(windows) and stop - start < room and (windows[stop].rows, windows[stop].columns) == shape:
            stop += 1
        yield windows[start:stop]
        start = stop
