"""The stages of a run that work block by block, overlapping each other on the threads of one process.

Reading threads stay a few windows ahead of the network; as soon as a block and its neighbours have their maps,
a decoding thread turns it into nuclei while the network goes on. Every block is committed as it ends, so that a
kill costs the blocks in flight and nothing else.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from wsiseg import fsio
from wsiseg.host import give_back_memory
from wsiseg.run.blocks import READS_QUEUED, BlockWork
from wsiseg.run.gaps import check_gaps
from wsiseg.run.ledger import Entry, Ledger
from wsiseg.run.stores import drop_maps, recall

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsiseg.predict import Predictor
    from wsiseg.run.gaps import Tiles
    from wsiseg.run.meter import Meter
    from wsiseg.run.plan import RunPlan
    from wsiseg.run.progress import Progress
    from wsiseg.slides import PatchedSlide
    from wsiseg.tiling import Block

MOST_DECODERS = 4
"""Blocks that are decoded at a time."""


class Engine:
    """Turns the wanted tiles of a plan into decoded blocks.

    Parameters
    ----------
    work
        The run's working folder.
    """

    def __init__(self, plan: RunPlan, work: Path, progress: Progress, meter: Meter) -> None:
        self._work = work
        self._plan = plan
        self._progress = progress
        self._meter = meter
        self._layout = plan.layout
        self._blocks = BlockWork(self._layout, work)
        with fsio.explained(work):
            work.mkdir(exist_ok=True)
        self._ledger = Ledger(work / "ledger.jsonl")
        self._board, self.facts = recall(work, self._ledger, self._layout.active_blocks())
        """What is known of each decoded block."""
        self._decoding: dict[Future[tuple[Entry, float]], Block] = {}

    @property
    def lost(self) -> Tiles:
        """The tiles that could not be read so far."""
        return self._ledger.lost_tiles()

    def run(self, predictor: Predictor, pool: PatchedSlide, workers: int) -> None:
        """Do what an earlier execution left undone, and commit it block by block.

        Raises
        ------
        SlideError
            E-UNREADABLE: more tiles cannot be read than the settings allow.
        """
        todo = self._board.to_infer()
        tiles = {block: len(self._layout.tiles_of(block)) for block in self._board.active}
        self._progress.stage("tiles", sum(tiles.values()), sum(tiles.values()) - sum(tiles[b] for b in todo))
        self._count_nuclei()
        # One a core, for the last rows of blocks are decoded when the network is done; but each takes .2 to .4 GB.
        with ThreadPoolExecutor(min(workers, MOST_DECODERS), "decode") as decoders:
            try:
                self._start_decoding(self._board.ready(), decoders)  # maps that a kill left
                with ThreadPoolExecutor(workers + READS_QUEUED, "read") as readers:
                    for block, entry in self._blocks.infer(todo, predictor, pool, readers, self._meter):
                        self._ledger.record(entry)
                        self._check_gaps(finished=False)
                        self._start_decoding(self._board.mapped(block), decoders)
                        self._settle(at_most=workers)
                self._settle(at_most=0)
                self._check_gaps(finished=True)
            except BaseException:
                decoders.shutdown(cancel_futures=True)
                raise

    def _check_gaps(self, *, finished: bool) -> None:
        settings, tissue = self._plan.settings, int(self._plan.wanted.sum())
        check_gaps(self.lost, tissue, settings.max_unreadable, settings.slide, finished=finished)

    def _count_nuclei(self) -> None:
        self._progress.nuclei(sum(facts["nuclei"] for facts in self.facts.values()))

    def _start_decoding(self, blocks: Iterable[Block], decoders: ThreadPoolExecutor) -> None:
        for block in blocks:
            self._decoding[decoders.submit(self._decode, block)] = block

    def _decode(self, block: Block) -> tuple[Entry, float]:
        started = time.perf_counter()
        entry = self._blocks.decode(block)
        self._ledger.record(entry)
        return entry, time.perf_counter() - started

    def _settle(self, at_most: int) -> None:
        """Take in decoded blocks, waiting while more than `at_most` are in the works."""
        while self._decoding:
            done = [future for future in self._decoding if future.done()]
            if not done:
                if len(self._decoding) <= at_most:
                    return
                done = [next(iter(self._decoding))]
            for future in done:
                block = self._decoding.pop(future)
                entry, seconds = future.result()
                self.facts[block] = entry.facts
                self._meter.decode += seconds
                give_back_memory()
                for spent in self._board.decoded(block):
                    if not self._plan.settings.keep_work:
                        drop_maps(self._work, spent)
            self._count_nuclei()
