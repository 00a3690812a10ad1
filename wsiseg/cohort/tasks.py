"""What runs on a worker: plan a slide, infer a block, decode a block, make the results. Dask calls it.

Each task is harmless to repeat, also beside itself: files are written under partial names of the attempt, and
equal work writes equal bytes. What comes back are paths and numbers; ledgers and final names are the driver's.
"""

from __future__ import annotations

import platform
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import get_worker

from wsiseg import __version__
from wsiseg.cohort.station import Station, packed
from wsiseg.errors import OutputError, ResourceError
from wsiseg.host import give_back_memory, usable_cores
from wsiseg.models.bundle import load_bundle
from wsiseg.run.finish import Numbered, small_picture, write_masks, write_tables
from wsiseg.run.meter import Meter
from wsiseg.run.pipeline import check_unchanged, library_versions, run_record
from wsiseg.run.progress import Silent
from wsiseg.run.staging import new_attempt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from wsiseg.cohort.network import Turn
    from wsiseg.cohort.station import Job, OpenRun
    from wsiseg.run.gaps import Tiles
    from wsiseg.run.ledger import Entry
    from wsiseg.run.plan import RunPlan
    from wsiseg.run.settings import RunSettings
    from wsiseg.run.staging import Staged
    from wsiseg.tiling import Block

    Facts = dict[Block, dict[str, int]]

DEVICE_SLOTS = 2
"""Blocks at a time on a device: the second begins to be read while the network sees the first."""
_DECIDE = ("torch", "dask", "distributed")
"""Packages whose version a worker must share with the driver, beside those that decide any run."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker is and what it can do at a time."""

    versions: dict[str, str]
    bundle: str
    """sha256 of the bundle that it would use."""
    device_slots: int
    cpu_slots: int
    numerics: dict[str, Any] | None
    """Of its network; None if it has no device."""
    batch: int
    """Tiles in one forward pass."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan as the driver needs to know it."""

    record: dict[str, Any]
    """The content of `run.json`, without the numerics."""
    fingerprint: str
    wanted: bytes
    tiles: dict[Block, int]
    """Wanted tiles of each active block, row by row."""


def dask_setup(_worker: object) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the driver: it ends the workers it started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def new_key(stage: str) -> str:
    """Name one submission for Dask, which keeps statistics by what stands before the dash."""
    return f"wsiseg_{stage}-{uuid4().hex}"


def versions() -> dict[str, str]:
    """Give the versions that all parts of a cohort must share."""
    found = {"wsiseg": __version__, "python": ".".join(platform.python_version_tuple()[:2])}
    for name in _DECIDE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | library_versions()


def muster(settings: RunSettings, make: str) -> Offer:
    """Say what this worker is, and make its network ready.

    A worker may declare the resources `device` (0 or 1), `cpu` (tasks beside the network) and `threads` (cores).
    """
    state = get_worker().state
    declared, threads = state.total_resources, _station().threads
    has_device = declared.get("device", 1) > 0
    with _coded():
        predictor = _station().network(settings, make).predictor() if has_device else None
    return Offer(
        versions=versions(),
        bundle=load_bundle(settings.model).sha256,
        device_slots=min(DEVICE_SLOTS, state.nthreads) if has_device else 0,
        cpu_slots=int(declared.get("cpu", max(threads // 2, 1))),
        numerics=predictor.numerics if predictor else None,
        batch=predictor.batch if predictor else 0,
    )


def plan(settings: RunSettings) -> Planned:
    """Plan one slide's run; writes nothing."""
    with _coded():
        planned = _station().plan(settings)
        layout = planned.layout
        tiles = {block: len(layout.tiles_of(block)) for block in layout.active_blocks()}
        return Planned(run_record(planned, {}), planned.slide_fingerprint, packed(planned.wanted), tiles)


def infer(job: Job, block: Block, make: str) -> tuple[Entry, Meter]:
    """Write a block's maps."""
    station, meter = _station(), Meter()
    with _coded(), station.opened(job) as run, _turn(job, run, block, make) as turn:
        ((_, entry),) = run.blocks.infer([block], turn, run.pool, station.readers, meter)
    meter.forward = turn.seconds
    return entry, meter


def _turn(job: Job, run: OpenRun, block: Block, make: str) -> AbstractContextManager[Turn]:
    return _station().network(job.settings, make).turn(len(run.blocks.windows(block)))


def decode(job: Job, block: Block) -> tuple[Entry, Meter]:
    """Write a block's nuclei."""
    meter = Meter()
    with _coded(), _station().opened(job) as run:
        with meter.timed("decode"):
            entry = run.blocks.decode(block)
        meter.decode = meter.stages.pop("decode")
    _station().readers.submit(give_back_memory)  # the next block need not wait for it
    return entry, meter


def tables(job: Job, facts: Facts, lost: Tiles) -> tuple[list[Staged], Meter]:
    """Make tables and pages from the decoded blocks."""
    meter = Meter()
    with _coded(), _station().opened(job) as run:
        planned = replace(_same_plan(job), lost=lost)
        nuclei = Numbered(job.work, facts, Silent())
        picture = small_picture(run.pool)
        return write_tables(planned, nuclei, new_attempt(job.work), run.pool, picture, meter)[0], meter


def masks(job: Job, facts: Facts, lost: Tiles) -> tuple[list[Staged], Meter]:
    """Make the mask pyramid from the decoded blocks."""
    meter = Meter()
    with _coded(), _station().opened(job) as run:
        planned = replace(_same_plan(job), lost=lost)
        nuclei = Numbered(job.work, facts, Silent())
        return [write_masks(planned, nuclei, new_attempt(job.work), small_picture(run.pool), meter)], meter


def _same_plan(job: Job) -> RunPlan:
    """Give the job's plan, or refuse if it is no longer what the blocks were made by."""
    planned = _station().plan_of(job)
    check_unchanged(planned)
    if planned.slide_fingerprint != job.fingerprint or packed(planned.wanted) != job.wanted:
        raise OutputError("E-SLIDE-CHANGED", "the slide changed while it was read", where=job.settings.slide)
    return planned


def _station() -> Station:
    """Give this process' station; the Dask worker keeps it."""
    worker = get_worker()
    station: Station | None = worker.extensions.get("wsiseg")
    if station is None:
        declared = int(worker.state.total_resources.get("threads", 0))
        made = Station(declared or min(worker.state.nthreads, usable_cores()))
        station = worker.extensions.setdefault("wsiseg", made)
    return station


@contextmanager
def _coded() -> Iterator[None]:
    """Let a lack of memory leave as one of our errors."""
    try:
        yield
    except MemoryError as error:
        raise ResourceError("E-MEMORY", "memory ran out on a worker", fix="use fewer workers") from error
