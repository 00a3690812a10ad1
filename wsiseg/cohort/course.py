"""One slide's course through a cohort: which tasks it needs next, and what their results change.

It holds the lock of the slide's run directory and is the only writer of its ledger. It runs no task itself.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsiseg import fsio
from wsiseg.cohort import tasks
from wsiseg.cohort.crew import Kind
from wsiseg.cohort.station import Job
from wsiseg.run.folder import RunFolder
from wsiseg.run.gaps import check_gaps
from wsiseg.run.ledger import Ledger
from wsiseg.run.lock import locked
from wsiseg.run.meter import Meter, performance
from wsiseg.run.pipeline import check_intact
from wsiseg.run.stores import drop_maps, recall

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wsiseg.cohort.progress import Watcher
    from wsiseg.cohort.tasks import Offer, Planned
    from wsiseg.run.board import Board
    from wsiseg.run.ledger import Entry
    from wsiseg.run.settings import RunSettings
    from wsiseg.run.staging import Staged
    from wsiseg.tiling import Block

_KINDS = {"plan": Kind.CPU, "infer": Kind.DEVICE, "decode": Kind.CPU, "tables": Kind.CPU, "masks": Kind.CPU}


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of a slide's work."""

    stage: str
    """A function of `cohort.tasks`."""
    block: Block | None = None

    @property
    def name(self) -> str:
        """What it is called in ledgers."""
        return f"{self.stage} {self.block.name}" if self.block else self.stage

    @property
    def kind(self) -> Kind:
        """What it needs of a worker."""
        return _KINDS[self.stage]


class Course:
    """The work on one slide, from its plan to COMPLETE.json.

    Parameters
    ----------
    out
        The run directory.
    offer
        What a worker with a device said of its network.
    make
        `module:function` that makes the network on a worker.
    """

    def __init__(
        self, id: str, settings: RunSettings, out: Path, offer: Offer, make: str, watcher: Watcher
    ) -> None:
        self.id = id
        self.folder = RunFolder(out)
        self.waiting: dict[Kind, deque[Task]] = {kind: deque() for kind in Kind}
        """Tasks that nobody has begun."""
        self.finished = False
        self._settings = settings
        self._offer = offer
        self._make = make
        self._watcher = watcher
        self._lock = ExitStack()
        self._meter = Meter()
        self._started = time.perf_counter()
        self._facts: dict[Block, dict[str, int]] = {}
        self._results: list[Staged] = []
        self._job: Job
        self._ledger: Ledger
        self._board: Board
        self._tiles = 0
        """Tiles to infer."""
        self._ask(Task("plan"))

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._started

    def call(self, task: Task) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Give the function that does a task, and its arguments."""
        match task.stage:
            case "plan":
                return tasks.plan, (self._settings,)
            case "infer":
                return tasks.infer, (self._job, task.block, self._make)
            case "decode":
                return tasks.decode, (self._job, task.block)
            case _:
                return getattr(tasks, task.stage), (self._job, self._facts, self._ledger.lost_tiles())

    def take(self, task: Task, result: Any) -> None:  # noqa: ANN401 - what the task's function gives
        """Take in what a task gave; the tasks that it makes possible are then waiting.

        Raises
        ------
        WsisegError
            The slide cannot go on.
        """
        if task.stage == "plan":
            self._begin(result)
            return
        found, meter = result
        self._meter.add(meter)
        if task.stage == "infer":
            self._ledger.record(found)
            self._check_gaps(finished=False)
            self._watcher.inferred(meter.tiles)
            self._decode(self._board.mapped(_block(task)))
        elif task.stage == "decode":
            self._decoded(_block(task), found)
        else:
            self._results += found
            self._finish()

    def close(self) -> None:
        """Free the run directory; nothing that waits is begun any more."""
        for queue in self.waiting.values():
            queue.clear()
        self._lock.close()

    def _ask(self, task: Task) -> None:
        self.waiting[task.kind].append(task)

    def _begin(self, plan: Planned) -> None:
        """Open the run directory as `wsiseg run` does, and find out what is left to do."""
        folder = self.folder
        folder.create()
        self._lock.enter_context(locked(folder.path))
        if folder.completion():  # a kill between COMPLETE.json and the clean-up, or a run that another call made
            folder.begin({**plan.record, "numerics": {}})
            check_intact(folder, self._settings.max_unreadable)
            fsio.remove(folder.work)
            self.finished = True
            return
        folder.begin({**plan.record, "numerics": self._offer.numerics})
        folder.clear_results()
        with fsio.explained(folder.work):
            folder.work.mkdir(exist_ok=True)
        self._job = Job(self._settings, folder.work, plan.fingerprint, plan.wanted)
        self._ledger = Ledger(folder.work / "ledger.jsonl")
        self._board, self._facts = recall(folder.work, self._ledger, plan.tiles)
        todo = self._board.to_infer()
        total = self._tiles = sum(plan.tiles.values())
        self._watcher.planned(total, total - sum(plan.tiles[block] for block in todo))
        self._watcher.nuclei(sum(facts["nuclei"] for facts in self._facts.values()))
        for block in todo:
            self._ask(Task("infer", block))
        self._decode(self._board.ready())
        self._finish_blocks()

    def _decode(self, blocks: list[Block]) -> None:
        for block in blocks:
            self._ask(Task("decode", block))

    def _decoded(self, block: Block, entry: Entry) -> None:
        self._ledger.record(entry)
        self._facts[block] = entry.facts
        self._watcher.nuclei(entry.facts["nuclei"])
        for spent in self._board.decoded(block):
            if not self._settings.keep_work:
                drop_maps(self.folder.work, spent)
        self._finish_blocks()

    def _finish_blocks(self) -> None:
        if self._board.finished:
            self._check_gaps(finished=True)
            self._ask(Task("tables"))
            self._ask(Task("masks"))

    def _check_gaps(self, *, finished: bool) -> None:
        settings = self._settings
        check_gaps(
            self._ledger.lost_tiles(), self._tiles, settings.max_unreadable, settings.slide, finished=finished
        )

    def _finish(self) -> None:
        """Publish when tables and masks are there."""
        if not {"tables", "masks"} <= self._meter.stages.keys():
            return
        record = performance(self._meter, self._offer.numerics or {}, self._offer.batch, self.seconds)
        self.folder.complete(self._results, record, len(self._ledger.lost_tiles()))
        fsio.remove(self.folder.work)
        self.finished = True


def _block(task: Task) -> Block:
    assert task.block is not None, task
    return task.block
