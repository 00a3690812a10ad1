"""`run_cohort`: many slides through one bundle, on one page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wsiseg.cohort.book import COMPLETE, Book
from wsiseg.cohort.cluster import connected, device_on_workers
from wsiseg.cohort.course import Course
from wsiseg.cohort.driver import Driver
from wsiseg.cohort.folder import CohortFolder
from wsiseg.cohort.page import PAGE, write_page
from wsiseg.cohort.recruit import Recruiter
from wsiseg.cohort.table import rows_of, tables_hold, write_tables
from wsiseg.errors import OutputError, SlideError, WsisegError
from wsiseg.models.bundle import bundle_names, load_bundle
from wsiseg.run.folder import RunFolder
from wsiseg.run.inspect import State, finished_state
from wsiseg.run.lock import locked
from wsiseg.slides import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsiseg.cohort.listing import Listing
    from wsiseg.cohort.progress import Watcher
    from wsiseg.cohort.table import CohortRow
    from wsiseg.models.bundle import ModelBundle
    from wsiseg.run.settings import RunSettings

OWN_NETWORK = "wsiseg.run.pipeline:own_predictor"
"""Makes the bundle's own network."""


@dataclass(frozen=True)
class Workplace:
    """Where a cohort is worked on."""

    scheduler: str = "local"
    """`local`, a Dask scheduler's address, or the path of its file."""
    workers: int | None = None
    """Worker processes on this machine; one a device if None."""
    make: str = OWN_NETWORK
    """`module:function` of (bundle, settings, threads) that makes the network on a worker."""


def run_cohort(
    listing: Listing, shared: RunSettings, out: Path, workplace: Workplace, watcher: Watcher
) -> tuple[CohortRow, ...]:
    """Run all slides that are not complete yet, and write the cohort's table and page.

    Parameters
    ----------
    shared
        What all slides are run with, where the list says nothing else; its slide does not matter.
    out
        The cohort's folder: a run directory a slide, as `run_slide` makes it, and the table.

    Returns
    -------
    The table: one row for each listed slide. A slide that failed is a row, not an error.

    Raises
    ------
    WsisegError
        What concerns all slides; what was finished stays and is used by the next call.
    """
    bundle = load_bundle(shared.model)
    folder = CohortFolder(out.absolute())
    folder.create()
    with locked(folder.path):
        folder.begin(shared, bundle)
        book = Book(folder.ledger)
        todo = _todo(listing, shared, folder.path, bundle, book)
        watcher.begin(len(listing.slides), len(listing.slides) - len(todo))
        try:
            if todo:
                _work(todo, folder.path, workplace, book, watcher)
        except WsisegError:
            _report(folder.path, listing, book)
            raise
        return _report(folder.path, listing, book)


def _work(todo: Mapping[str, RunSettings], out: Path, workplace: Workplace, book: Book, watcher: Watcher) -> None:
    """Lead slides over the workers; `todo` gives their settings by id."""
    some = next(iter(todo.values()))
    device = device_on_workers(workplace.scheduler, some.device)
    with connected(workplace.scheduler, some.device, workplace.workers) as client:
        recruiter = Recruiter(client, replace(some, device=device), workplace.make, watcher)

        def begin(slide: str) -> Course:
            assert recruiter.network is not None, "no slide is begun before a worker has a network"
            settings = replace(todo[slide], device=device)
            return Course(slide, settings, out / slide, recruiter.network, workplace.make, watcher)

        Driver(client, recruiter, book, watcher, begin).run(todo)


def _todo(
    listing: Listing, shared: RunSettings, out: Path, bundle: ModelBundle, book: Book
) -> dict[str, RunSettings]:
    """Give the settings of the slides that are not complete, by id."""
    todo = {}
    for slide in listing.slides:
        settings = _absolute(slide.settings(shared), bundle)
        if not _is_complete(settings, RunFolder(out / slide.id), bundle):
            todo[slide.id] = settings
        elif book.outcome(slide.id).state != COMPLETE:  # made by `wsiseg run`, or a kill before the book knew
            book.complete(slide.id)
    return todo


def _is_complete(settings: RunSettings, folder: RunFolder, bundle: ModelBundle) -> bool:
    """Tell whether a run directory holds all that these settings ask for; opens no slide."""
    if folder.work.exists() or folder.completion() is None:
        return False
    try:
        record, identity = folder.read_record(), fingerprint(settings.slide)
    except (OutputError, SlideError):  # the run itself says it better
        return False
    asked = (identity, bundle.sha256, settings.decisive())
    made = (record["slide"]["fingerprint"], record["bundle"]["sha256"], record["settings"])
    return asked == made and finished_state(folder).state is State.COMPLETE


def _absolute(settings: RunSettings, bundle: ModelBundle) -> RunSettings:
    """Give settings whose paths mean the same to a worker, wherever it was started."""
    return replace(
        settings,
        slide=settings.slide.absolute(),
        model=settings.model if settings.model in bundle_names() else str(bundle.folder.absolute()),
        roi=None if settings.roi is None else settings.roi.absolute(),
        tissue=str(settings.tissue_file.absolute()) if settings.tissue_file else settings.tissue,
    )


def _report(out: Path, listing: Listing, book: Book) -> tuple[CohortRow, ...]:
    """Write the page, then the tables: if those hold the rows already, nothing has changed."""
    rows = rows_of(out, listing, {slide.id: book.outcome(slide.id) for slide in listing.slides})
    if not ((out / PAGE).is_file() and tables_hold(out, rows)):
        write_page(out, rows)
        write_tables(out, rows)
    return rows
