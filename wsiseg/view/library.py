"""What a viewer can show: one finished run, or those of a cohort, each opened when somebody looks at it.

Runs are known by their number in a fixed list: no name from a request ever becomes a path.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsiseg import fsio
from wsiseg.errors import DamageError, OutputError, SettingsError
from wsiseg.run.inspect import State, inspect_run
from wsiseg.view.shown import Shown, open_same, read_summary

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN_RUNS = 3
"""Kept open at a time: each holds its slide's reader and its index of nuclei."""
COHORT_JSON, COHORT_TABLE = "cohort.json", "cohort.parquet"
_FINISHED = (State.COMPLETE, State.GAPS)
_ROW = ("slide", "state", "code", "message", "nuclei", "nuclei_per_mm2", "tissue_mm2", "folder")
"""Columns of a cohort's table that the list of slides shows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One slide of the list."""

    facts: dict[str, Any]
    """What the list says of it, as JSON values."""
    folder: Path | None
    """Its run directory; None if there is nothing to look at."""
    slide: Path | None
    """Where its slide should be; None if nobody knows."""


class Library:
    """The runs of one folder, by number; for any number of threads.

    Parameters
    ----------
    name
        What the folder is called.
    cohort
        Whether it is a cohort, so that there is a list to show.
    """

    def __init__(self, name: str, entries: tuple[Entry, ...], *, cohort: bool) -> None:
        self.name = name
        self.cohort = cohort
        self._entries = entries
        self._open: OrderedDict[int, _Held] = OrderedDict()
        self._lock = threading.Lock()

    def listing(self) -> dict[str, Any]:
        """Give the list of slides as JSON values."""
        slides = [
            {**entry.facts, "number": number, "shown": entry.folder is not None}
            for number, entry in enumerate(self._entries)
        ]
        return {"name": self.name, "slides": slides}

    @contextmanager
    def shown(self, number: int) -> Iterator[Shown | None]:
        """Lend a run, opened if it is not; None if there is none of that number.

        Raises
        ------
        DamageError
            E-DAMAGED.
        """
        entry = self._entries[number] if number < len(self._entries) else None
        if entry is None or entry.folder is None:
            yield None
            return
        held = self._lent(number)
        try:
            with held.opening:
                if held.run is None:
                    held.run = Shown(entry.folder, entry.slide)
            yield held.run
        finally:
            self._given_back(held)

    def close(self) -> None:
        """Close all runs that nobody looks at."""
        with self._lock:
            self._forget(0)

    def _lent(self, number: int) -> _Held:
        with self._lock:
            held = self._open.setdefault(number, _Held())
            self._open.move_to_end(number)
            held.users += 1
            return held

    def _given_back(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            self._forget(OPEN_RUNS)

    def _forget(self, keep: int) -> None:
        """Close the runs that were looked at longest ago, until no more than `keep` are open or all are in use."""
        for number in [number for number, held in self._open.items() if held.users == 0]:
            if len(self._open) <= keep:
                return
            run = self._open.pop(number).run
            if run is not None:
                run.close()


class _Held:
    """A run, or one that is being opened, and how many look at it."""

    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.run: Shown | None = None
        self.users = 0


def open_library(path: Path, slide: Path | None = None) -> Library:
    """Find what a folder has to show.

    Parameters
    ----------
    path
        A run directory, or a cohort's folder.
    slide
        The slide of a run; by default one of its name beside the directory.

    Raises
    ------
    OutputError
        E-OUT-MISSING: nothing here is finished. E-SLIDE-CHANGED: `slide` is another one.
    DamageError
        E-DAMAGED: the folder's files are not what wsiseg writes.
    SlideError
        `slide` is not there or refused.
    SettingsError
        E-USAGE: `slide` is given for a cohort.
    """
    name = path.resolve().name
    if (path / COHORT_JSON).is_file() or (path / COHORT_TABLE).is_file():
        if slide is not None:
            fix = "give the folder of the run"
            raise SettingsError(
                "E-USAGE", "--slide names the slide of one run, not of a cohort", where=path, fix=fix
            )
        return Library(name, tuple(_cohort_entries(path)), cohort=True)
    state = inspect_run(path)
    if state.state is State.DAMAGED:
        raise DamageError("E-DAMAGED", state.detail, where=path, fix="see `wsiseg verify`")
    if state.state not in _FINISHED:
        what = f"there is no finished run to show: {state.state}, {state.detail}"
        raise OutputError("E-OUT-MISSING", what, where=path, fix="give the folder of a finished run or a cohort")
    summary = read_summary(path)
    if slide is not None:
        open_same(summary, slide).close()  # a slide that somebody named is refused here, and not on the page
    found = slide or _beside(path, summary["slide"]["name"])
    return Library(name, (Entry({}, path, found),), cohort=False)


def _beside(folder: Path, name: str) -> Path | None:
    """Give the file of that name beside a run directory, where `wsiseg run` puts it by default."""
    found = folder.resolve().parent / Path(name).name
    return found if Path(name).name == name and found.exists() else None


def _cohort_entries(path: Path) -> Iterator[Entry]:
    """Give one entry a row of the cohort's table; only a finished run in its own folder can be shown."""
    file = path / COHORT_TABLE
    if not file.is_file():
        what = "the cohort has no table yet"
        raise OutputError("E-OUT-MISSING", what, where=path, fix="wait until `wsiseg cohort` is through")
    try:
        with fsio.explained(file):
            rows = pq.read_table(file, columns=list(_ROW)).to_pylist()
    except (pa.ArrowException, KeyError) as error:
        what = f"the cohort's table cannot be read ({error})"
        raise DamageError("E-DAMAGED", what, where=file, fix="run the same cohort again") from error
    for row in rows:
        inside = row.pop("folder")
        folder = path / inside if inside and Path(inside).name == inside else None
        if folder is not None and (folder.is_symlink() or inspect_run(folder).state not in _FINISHED):
            folder = None
        slide = Path(row["slide"])
        found = slide if slide.exists() else folder and _beside(folder.parent, slide.name)
        yield Entry({**row, "slide": slide.name}, folder, found)
