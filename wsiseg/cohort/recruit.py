"""Which workers take part: those whose versions, bundle and numerics are the driver's and each other's.

A worker is asked for what it is before it gets any task, also one that comes later. Those that are there at the
start must fit, or the cohort is refused; one that comes later and does not fit is named and gets no task.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from distributed import KilledWorker

from wsiseg.cohort import tasks
from wsiseg.errors import ResourceError, SettingsError, WsisegError
from wsiseg.models.bundle import load_bundle

if TYPE_CHECKING:
    from collections.abc import Set

    from distributed import Client, Future

    from wsiseg.cohort.progress import Watcher
    from wsiseg.cohort.tasks import Offer
    from wsiseg.run.settings import RunSettings

_DEATHS = 4
"""Workers that may die before any of them has a network."""
_ANSWER_S = 20.0
"""A worker that answered and cannot be asked what for so long is lost."""


class Recruiter:
    """Asks workers what they are.

    Parameters
    ----------
    settings
        What all slides share; model, device and batch count here.
    make
        `module:function` that makes the network on a worker.
    """

    def __init__(self, client: Client, settings: RunSettings, make: str, watcher: Watcher) -> None:
        self.network: Offer | None = None
        """Of the first worker with a device: all others have the same numerics."""
        self._client = client
        self._ask = partial(tasks.muster, settings, make)
        self._wanted = tasks.versions()
        self._bundle = load_bundle(settings.model).sha256
        self._watcher = watcher
        self._asked: dict[str, Future] = {}
        self._refused: set[str] = set()
        self._opened = False
        self._said = False
        self._deaths = 0

    def has_retired(self, address: str) -> bool:
        """Tell whether a worker that is gone left in order, as at the end of its lifetime, and did not die."""
        events = [event for _, event in self._client.get_events(address)]
        ends = [event for event in events if event.get("action") == "remove-worker"]
        return bool(ends and ends[-1].get("expected"))  # another worker may have had that address before

    def present(self) -> set[str]:
        """Give the addresses of all workers that the scheduler knows.

        Raises
        ------
        ResourceError
            E-SCHEDULER: it cannot be reached.
        """
        self.check_scheduler()
        try:
            present = set(self._client.nthreads())
        except Exception as error:  # Dask fails in many ways without a scheduler
            raise _scheduler_lost() from error
        if not present and not self._said:
            self._watcher.note("no worker is there; waiting for one")
        self._said = not present
        return present

    def check_scheduler(self) -> None:
        """Refuse to go on without a scheduler: Dask forgets all tasks when it loses it."""
        if self._client.status != "running":
            raise _scheduler_lost()

    def newcomers(self, present: Set[str]) -> list[tuple[str, Offer]]:
        """Ask the workers that do not take part yet; give those that have answered and fit.

        Raises
        ------
        WsisegError
            One that was there at the start does not fit: E-WORKERS, or why it cannot make the network.
        """
        for address in present - self._asked.keys() - self._refused:
            self._asked[address] = self._client.submit(
                self._ask, key=tasks.new_key("muster"), workers=[address], pure=False, retries=0
            )
        for address in self._asked.keys() - present:
            self._asked.pop(address).cancel()
            self._count_death(address)
        if not self._opened and not all(future.done() for future in self._asked.values()):
            return []
        fitting = [pair for pair in map(self._answer, list(self._asked)) if pair is not None]
        self._opened = self._opened or bool(fitting)
        return fitting

    def _answer(self, address: str) -> tuple[str, Offer] | None:
        """Give a worker and its offer, if it has answered and fits."""
        if not self._asked[address].done():
            return None
        future = self._asked.pop(address)
        try:
            offer: Offer = future.result(timeout=_ANSWER_S)
            misfit = self._misfit(offer)
        except WsisegError as error:
            if not self._opened:
                raise
            misfit = str(error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - Dask fails in many ways without a worker
            if future.status != "error" or isinstance(error, KilledWorker):
                self._count_death(address)
                return None
            misfit = f"wsiseg does not work there ({type(error).__name__}: {error})"
        if not misfit:
            self.network = self.network or (offer if offer.device_slots else None)
            return address, offer
        self._refused.add(address)
        if not self._opened:
            raise SettingsError(
                "E-WORKERS", misfit, where=f"worker {address}", fix="every worker needs what the driver has"
            )
        self._watcher.note(f"worker {address} gets no work: {misfit}")
        return None

    def _count_death(self, address: str) -> None:
        """A worker died when it was asked; the one that takes its place is asked too, but not for ever."""
        self._deaths += 1
        if not self._opened and self._deaths >= _DEATHS:
            raise ResourceError(
                "E-MEMORY",
                f"{self._deaths} workers ended while they loaded the network",
                where=f"worker {address}",
                fix="use fewer workers, or a machine with more memory",
            )

    def _misfit(self, offer: Offer) -> str:
        """Say why a worker cannot take part; empty if it can."""
        differences = [
            f"{name} is {offer.versions.get(name)} there and {version} here"
            for name, version in self._wanted.items()
            if offer.versions.get(name) != version
        ]
        if differences:
            return ", ".join(differences)
        if offer.bundle != self._bundle:
            return "the model bundle there is another one"
        if offer.numerics and self.network and offer.numerics != self.network.numerics:
            mine, its = self.network.numerics or {}, offer.numerics
            names = [name for name in {**mine, **its} if mine.get(name) != its.get(name)]
            return "its network would give other bits than the first worker's: " + ", ".join(
                f"{name} is {its.get(name)!r} and not {mine.get(name)!r}" for name in names
            )
        return ""


def _scheduler_lost() -> ResourceError:
    return ResourceError(
        "E-SCHEDULER",
        "the Dask scheduler is gone",
        fix="start it and run the same command again; finished work is kept",
    )
