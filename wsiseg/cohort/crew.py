"""The workers and what each is doing: who may take which task. Knows no Dask and no slide's state.

The driver gives each task to one worker, and never more than the worker can do at a time. So it knows what a
worker was doing when it died, can give a suspect task a worker for itself, and leaves no scheduler to guess.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wsiseg.cohort.tasks import Offer

REMEMBERED = 4
"""Slides that a worker is taken to have open: those that it saw last."""


class Kind(StrEnum):
    """What a task needs of its worker."""

    DEVICE = "device"
    CPU = "cpu"


@dataclass
class Worker:
    """One worker that takes part."""

    address: str
    slots: Mapping[Kind, int]
    busy: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    kept_free: bool = False
    """For one task alone: it takes no other."""
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Slides that it worked on last."""

    @property
    def load(self) -> int:
        """Tasks that it is at."""
        return sum(self.busy.values())

    def free(self, kind: Kind) -> int:
        """How many more tasks of a kind it can take."""
        return 0 if self.kept_free else self.slots[kind] - self.busy[kind]

    def take(self, kind: Kind, slide: str) -> None:
        """Begin a task."""
        self.busy[kind] += 1
        self.seen[slide] = None
        self.seen.move_to_end(slide)
        while len(self.seen) > REMEMBERED:
            self.seen.popitem(last=False)

    def end(self, kind: Kind) -> None:
        """End a task."""
        self.busy[kind] -= 1


class Crew:
    """All workers that take part."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def __len__(self) -> int:
        return len(self._workers)

    def join(self, address: str, offer: Offer) -> None:
        """Let a worker take part."""
        slots = {Kind.DEVICE: offer.device_slots, Kind.CPU: offer.cpu_slots}
        self._workers[address] = Worker(address, slots)

    def leave(self, address: str) -> None:
        """Forget a worker that is gone."""
        self._workers.pop(address, None)

    def addresses(self) -> set[str]:
        """Give the addresses of all."""
        return set(self._workers)

    def find(self, address: str) -> Worker | None:
        """Give a worker, or None if it is gone."""
        return self._workers.get(address)

    def slots(self, kind: Kind) -> int:
        """Give how many tasks of a kind all workers take at a time."""
        return sum(worker.slots[kind] for worker in self._workers.values())

    def free(self, kind: Kind) -> Iterator[Worker]:
        """Give workers that can take a task of a kind, the least loaded first, until none can."""
        while True:
            able = [worker for worker in self._workers.values() if worker.free(kind) > 0]
            if not able:
                return
            yield min(able, key=lambda worker: (worker.busy[kind], worker.load))

    def alone(self, kind: Kind) -> Worker | None:
        """Give a worker that has nothing to do and can take a task of a kind, and keep it free for that one task.

        Where all are busy, one is kept free, to be given at a later call.
        """
        able = [worker for worker in self._workers.values() if worker.slots[kind] > 0]
        kept = [worker for worker in able if worker.kept_free]
        idle = [worker for worker in kept if worker.load == 0] or [w for w in able if w.load == 0]
        if idle:
            idle[0].kept_free = True
            return idle[0]
        if able and not kept:
            min(able, key=lambda worker: worker.load).kept_free = True
        return None

    def release(self) -> None:
        """Keep no idle worker free any more."""
        for worker in self._workers.values():
            if worker.load == 0:
                worker.kept_free = False
