"""What a person sees while a cohort is worked on and when it ends."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from wsiseg.cli.display import tell
from wsiseg.cohort.book import FAILED
from wsiseg.errors import CohortError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from wsiseg.cohort.book import SlideOutcome
    from wsiseg.cohort.progress import Watcher
    from wsiseg.cohort.table import CohortRow

_SHOWN = 20
"""Failed slides that are listed; the page has all."""


@contextmanager
def watching() -> Iterator[Watcher]:
    """Show progress on stderr: one live line on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Account(tell, tell)
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("looking at the slides") as status:
        account = _Account(status.update, lambda text: console.print(text, highlight=False, markup=False))
        account.seconds_between = 0.2
        yield account


class _Account:
    """Adds up what it is told, and shows it in one line.

    Parameters
    ----------
    show
        Shows the line.
    say
        Prints a message that stays.
    """

    seconds_between = 10.0

    def __init__(self, show: Callable[[str], None], say: Callable[[str], None]) -> None:
        self._show, self._say = show, say
        self._slides = self._done = self._failed = self._planned = self._before = 0
        self._tiles = self._inferred = self._now = self._nuclei = 0
        self._shown = time.monotonic()
        self._first: float | None = None

    def begin(self, slides: int, done: int) -> None:
        self._slides, self._done, self._before = slides, done, done
        if done:
            self._say(f"{done:,} of {slides:,} slides are complete already")

    def planned(self, tiles: int, done: int) -> None:
        self._planned += 1
        self._tiles += tiles
        self._inferred += done
        self._refresh()

    def inferred(self, tiles: int) -> None:
        self._first = self._first or time.monotonic()
        self._inferred += tiles
        self._now += tiles
        self._refresh()

    def nuclei(self, count: int) -> None:
        self._nuclei += count

    def ended(self, outcome: SlideOutcome) -> None:
        if outcome.state == FAILED:
            self._failed += 1
            self._say(f"{outcome.id}: {outcome.message}")
        else:
            self._done += 1
        self._refresh()

    def note(self, text: str) -> None:
        self._say(text)

    def _line(self) -> str:
        """Give how far it is."""
        parts = [f"slides {self._done:,}/{self._slides:,}"]
        parts += [f"{self._failed:,} failed"] if self._failed else []
        rate = self._rate()
        parts += [f"{rate:.1f} tiles/s"] if rate else []
        parts += [f"{self._nuclei:,} nuclei"]
        left = self._seconds_left(rate)
        parts += [f"about {_duration(left)} left"] if left is not None else []
        return ", ".join(parts)

    def _rate(self) -> float:
        """Tiles a second since the first one was there."""
        seconds = time.monotonic() - self._first if self._first else 0.0
        return self._now / seconds if seconds > 1 else 0.0

    def _seconds_left(self, rate: float) -> float | None:
        """Take the slides that are not planned yet for as large as the others."""
        if not rate or not self._planned:
            return None
        ended = self._done + self._failed - self._before
        unplanned = self._slides - self._before - max(self._planned, ended)
        tiles = self._tiles - self._inferred + unplanned * self._tiles / self._planned
        return max(tiles, 0.0) / rate

    def _refresh(self) -> None:
        if time.monotonic() - self._shown >= self.seconds_between:
            self._shown = time.monotonic()
            self._show(self._line())


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def print_rows(rows: Sequence[CohortRow], out: Path) -> None:
    """Print how many slides ended how, which failed and why, and where the page is."""
    counts = Counter(row.state for row in rows)
    click.echo(", ".join(f"{count:,} {state}" for state, count in counts.items()))
    failed = [row for row in rows if row.state == FAILED]
    for row in failed[:_SHOWN]:
        click.echo(printable(f"  {row.slide}  {row.code}  {row.message}"))
    if len(failed) > _SHOWN:
        click.echo(f"  and {len(failed) - _SHOWN:,} more")
    click.echo(f"  {out / 'cohort.html'}  the cohort's page; open it in a browser")


def refusal(rows: Sequence[CohortRow], out: Path) -> CohortError | None:
    """Give the error that a cohort with failed slides ends with."""
    failed = sum(row.state == FAILED for row in rows)
    if not failed:
        return None
    slides = "slide" if failed == 1 else "slides"
    return CohortError(
        "E-COHORT-FAILED",
        f"{failed:,} {slides} failed",
        where=out / "cohort.html",
        fix="the same command runs only those again",
    )
