"""Stages one and two of a run: tiles to maps, maps to nuclei, block by block, overlapping each other.

Reading threads stay a few windows ahead of the network; as soon as a block and its neighbours have their maps,
a decoding thread turns it into nuclei while the network goes on. Every block is committed as it ends, so that a
kill costs the blocks in flight and nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wsiseg import fsio
from wsiseg.host import give_back_memory
from wsiseg.instances import Decoding, decode_block
from wsiseg.run.ledger import Entry, Ledger
from wsiseg.run.stores import MapStore, NucleiStore
from wsiseg.slides.sampling import read_box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.models.heads import Head
    from wsiseg.predict import Predictor
    from wsiseg.run.plan import RunPlan
    from wsiseg.run.progress import Progress
    from wsiseg.slides import SlidePool
    from wsiseg.tiling import Block, Window

WINDOW_TILES = 4
"""Side of a window in tiles: a halo of 32 px costs 1.13 times the work, around single tiles 1.56 times."""


@dataclass
class Seconds:
    """Where the time of an execution went."""

    read_wait: float = 0.0
    """The network waited for pixels."""
    forward: float = 0.0
    """The network worked."""
    decode: float = 0.0
    """Decoding threads worked, in parallel to the network."""
    other: dict[str, float] = field(default_factory=dict)


class Engine:
    """Turns the wanted tiles of a plan into decoded blocks.

    Parameters
    ----------
    work
        The run's working folder.
    predictor
        The network on its device; only its maps matter here.
    """

    def __init__(self, plan: RunPlan, head: Head, work: Path, progress: Progress) -> None:
        self._plan = plan
        self._grid = plan.grid
        self._head = head
        self._progress = progress
        spec = plan.bundle.spec
        self._decoding_rules = Decoding(
            head.decode, plan.frame, plan.info.area, spec.mpp, class_value=spec.classes[0].value
        )
        with fsio.explained(work):
            work.mkdir(exist_ok=True)
        ledger = Ledger(work / "ledger.jsonl")
        self._maps = MapStore(work / "maps", ledger, plan.grid, plan.wanted, len(head.maps))
        self.nuclei = NucleiStore(work / "nuclei", ledger)
        self.active = [block for block in plan.grid.blocks if len(self._maps.tiles_of(block))]
        """Blocks with at least one wanted tile, row by row."""
        self.decoded: dict[Block, Entry] = {}
        self.seconds = Seconds()
        self.tiles_inferred = 0
        """By this execution; earlier ones may have done the rest."""
        self._mapped: set[Block] = set()
        self._decoding: dict[Future[tuple[Entry, float]], Block] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a later stage to the account."""
        started = time.perf_counter()
        yield
        self.seconds.other[stage] = time.perf_counter() - started

    def run(self, predictor: Predictor, pool: SlidePool, workers: int) -> None:
        """Do what an earlier execution left undone, and commit it block by block."""
        self._recall()
        todo = [block for block in self.active if self._needs_maps(block)]
        tiles = {block: len(self._maps.tiles_of(block)) for block in self.active}
        self._progress.stage("tiles", sum(tiles.values()), sum(tiles.values()) - sum(tiles[b] for b in todo))
        self._progress.nuclei(sum(entry.facts["nuclei"] for entry in self.decoded.values()))
        # Decoding takes a third of the network's time and half a GB a block: fewer threads, less memory.
        with ThreadPoolExecutor(max(workers // 2, 1), "decode") as decoders:
            try:
                for block in self.active:  # maps that a kill left ready to be decoded
                    self._decode_ready(block, decoders)
                with ThreadPoolExecutor(workers, "read") as readers:
                    for block, maps in self._infer(todo, predictor, pool, readers):
                        self._maps.write(block, maps)
                        self._mapped.add(block)
                        for neighbour in self._grid.neighbours(block):
                            self._decode_ready(neighbour, decoders)
                        self._settle(at_most=workers)
                self._settle(at_most=0)
            except BaseException:
                decoders.shutdown(cancel_futures=True)
                raise

    def _recall(self) -> None:
        """Find out from the ledger and the files what is already done."""
        for block in self.active:
            entry = self.nuclei.find(block)
            if entry is not None:
                self.decoded[block] = entry
        for block in self.active:
            if not self._maps_spent(block) and self._maps.has(block):
                self._mapped.add(block)

    def _maps_spent(self, block: Block) -> bool:
        """Whether nobody needs the block's maps any more."""
        return all(near in self.decoded for near in self._active_near(block))

    def _needs_maps(self, block: Block) -> bool:
        return not self._maps_spent(block) and block not in self._mapped

    def _active_near(self, block: Block) -> list[Block]:
        return [near for near in self._grid.neighbours(block) if len(self._maps.tiles_of(near))]

    # -- tiles to maps ------------------------------------------------------------------------------------

    def _infer(
        self, blocks: list[Block], predictor: Predictor, pool: SlidePool, readers: ThreadPoolExecutor
    ) -> Iterator[tuple[Block, npt.NDArray[np.uint8]]]:
        """Give (block, its maps) for each block, reading ahead of the network."""
        windows = {block: self._windows(block) for block in blocks}
        pixels = self._read_ahead([w for block in blocks for w in windows[block]], predictor, pool, readers)
        side = self._grid.tile_px
        for block in blocks:
            tiles = self._maps.tiles_of(block)
            index = {(int(row), int(column)): i for i, (row, column) in enumerate(tiles)}
            maps = np.zeros((len(tiles), len(self._head.maps), side, side), np.uint8)
            for batch in _batches(windows[block], predictor):
                started = time.perf_counter()
                stacked = np.stack([next(pixels) for _ in batch])
                read = time.perf_counter()
                found = predictor.predict(stacked)
                self.seconds.read_wait += read - started
                self.seconds.forward += time.perf_counter() - read
                for window, planes in zip(batch, found, strict=True):
                    count = self._cut(window, planes, index, maps)
                    self.tiles_inferred += count
                    self._progress.advance(count)
            yield block, maps

    def _windows(self, block: Block) -> list[Window]:
        """A block's windows with equal shapes next to each other, so that they can share a batch."""
        windows = self._grid.windows(block, self._plan.wanted, WINDOW_TILES)
        return sorted(windows, key=lambda window: (window.rows, window.columns))

    def _read_ahead(
        self, windows: list[Window], predictor: Predictor, pool: SlidePool, readers: ThreadPoolExecutor
    ) -> Iterator[npt.NDArray[np.uint8]]:
        """Give the pixels of each window in order; threads read the next two batches meanwhile."""
        waiting: deque[Future[npt.NDArray[np.uint8]]] = deque()
        for window in windows:
            box = self._grid.window_box(window, self._plan.halo_px)
            waiting.append(readers.submit(read_box, pool, self._plan.frame, box))
            if len(waiting) > 3 + 2 * predictor.batch // WINDOW_TILES**2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _cut(
        self,
        window: Window,
        planes: npt.NDArray[np.uint8],
        index: dict[tuple[int, int], int],
        maps: npt.NDArray[np.uint8],
    ) -> int:
        """Copy the wanted tiles of a window's (channels, h, w) planes to their places; give their number."""
        side, halo = self._grid.tile_px, self._plan.halo_px
        count = 0
        for row in range(window.rows):
            for column in range(window.columns):
                place = index.get((window.first_row + row, window.first_column + column))
                if place is None:
                    continue
                y, x = halo + row * side, halo + column * side
                maps[place] = planes[:, y : y + side, x : x + side]
                count += 1
        return count

    # -- maps to nuclei -----------------------------------------------------------------------------------

    def _decode_ready(self, block: Block, decoders: ThreadPoolExecutor) -> None:
        """Start to decode a block if it waits for nothing any more."""
        if block in self.decoded or block in self._decoding.values():
            return
        near = self._active_near(block)
        if block in near and all(other in self._mapped for other in near):
            self._decoding[decoders.submit(self._decode, block)] = block

    def _decode(self, block: Block) -> tuple[Entry, float]:
        started = time.perf_counter()
        grid, frame = self._grid, self._plan.frame
        box = grid.block_box(block)
        window = box.grown(self._head.margin_px).intersection(frame.box)
        result = decode_block(self._maps.read(window), window, box, self._decoding_rules)
        facts = {"oversized": result.oversized, "repaired": result.repaired, "outside": result.outside}
        return self.nuclei.write(block, result.nuclei, facts), time.perf_counter() - started

    def _settle(self, at_most: int) -> None:
        """Take in finished blocks, waiting while more than `at_most` are in the works."""
        while self._decoding:
            done = [future for future in self._decoding if future.done()]
            if not done:
                if len(self._decoding) <= at_most:
                    return
                done = [next(iter(self._decoding))]
            for future in done:
                block = self._decoding.pop(future)
                entry, seconds = future.result()
                self.decoded[block] = entry
                self.seconds.decode += seconds
                give_back_memory()
                for near in self._active_near(block):
                    if self._maps_spent(near) and not self._plan.settings.keep_work:
                        self._maps.drop(near)
            self._progress.nuclei(sum(entry.facts["nuclei"] for entry in self.decoded.values()))


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
