"""What a person sees while a run works and when it ends."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from wsiseg.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from wsiseg.run import Outcome
    from wsiseg.run.progress import Progress

_TITLES = {"tiles": "segmenting tiles", "blocks": "writing nuclei", "shards": "painting masks"}


@contextmanager
def watching() -> Iterator[Progress]:
    """Show progress on stderr: live bars on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[nuclei]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        yield _Bars(bars)


class _Bars:
    """Live bars: steps, steps a second, nuclei, time left."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._done = 0
        self._start = time.monotonic()
        self._unit = ""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._task = self._bars.add_task(_TITLES.get(name, name), total=total, completed=done, rate="", nuclei="")
        self._done, self._start, self._unit = 0, time.monotonic(), name

    def advance(self, steps: int = 1) -> None:
        if self._task is None:
            return
        self._done += steps
        rate = self._done / max(time.monotonic() - self._start, 1e-3)
        self._bars.update(self._task, advance=steps, rate=f"{rate:.1f} {self._unit}/s")

    def nuclei(self, count: int) -> None:
        if self._task is not None:
            self._bars.update(self._task, nuclei=f"{count:,} nuclei")

    def note(self, text: str) -> None:
        self._bars.console.print(printable(text), highlight=False, markup=False)


class _Lines:
    """A line every ten seconds, for logs of jobs."""

    SECONDS_BETWEEN = 10.0

    def __init__(self) -> None:
        self._name, self._total, self._done, self._earlier, self._nuclei = "", 0, 0, 0, 0
        self._start = self._last = time.monotonic()

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._name, self._total, self._done, self._earlier = name, total, done, done
        self._start = self._last = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last < self.SECONDS_BETWEEN:
            return
        self._last = now
        rate = (self._done - self._earlier) / (now - self._start)
        left = (self._total - self._done) / rate if rate else 0
        title = _TITLES.get(self._name, self._name)
        tell(
            f"{title}: {self._done:,}/{self._total:,}, {rate:.1f} {self._name}/s, "
            f"{self._nuclei:,} nuclei, about {left:,.0f} s left"
        )

    def nuclei(self, count: int) -> None:
        self._nuclei = count

    def note(self, text: str) -> None:
        tell(text)


def tell(text: str) -> None:
    """Say something on stderr; whether anybody still reads it must not end a run."""
    with suppress(OSError):
        click.echo(printable(text), err=True)


def print_outcome(outcome: Outcome) -> None:
    """Print a summary that a person understands."""
    summary = outcome.summary
    if outcome.already_complete:
        click.echo(printable(f"Already complete; nothing to do: {outcome.folder}"))
    for line in _summary_lines(summary, outcome.performance):
        click.echo(printable(line))
    click.echo("")
    for name, text in _RESULTS:
        for path in sorted(outcome.folder.glob(name)):
            click.echo(printable(f"  {path}  {text}"))


_RESULTS = (
    ("nuclei.geojson.*", "drag it onto the slide in QuPath"),
    ("nuclei.parquet", "the table: one row a nucleus"),
    ("masks.ome.zarr", "the mask pyramid for napari and others"),
    ("report.html", "the report; open it in a browser"),
    ("overview.png", "the slide, small, with its nuclei"),
)


def _summary_lines(summary: dict[str, Any], performance: dict[str, Any]) -> Iterator[str]:
    density = summary["nuclei_per_mm2"]
    median = summary["area_um2"]["median"]
    yield (
        f"{summary['nuclei']:,} nuclei in {summary['tissue_mm2']:.2f} mm2 of tissue"
        + (f", {density:,.0f} per mm2" if density else "")
        + (f"; median area {median:.1f} um2" if median else "")
    )
    if classes := summary.get("classes"):
        yield ", ".join(f"{one['name']} {one['nuclei']:,} ({100 * one['share']:.0f} %)" for one in classes)
    tiles = summary["tiles"]
    yield (
        f"{tiles['inferred']:,} of {tiles['grid']:,} tiles looked at "
        f"({tiles['blank']:,} blank, {tiles['outside']:,} outside the region)"
    )
    if performance:
        seconds = performance["seconds"]["total"]
        rate = performance["tiles_per_second"]
        yield f"{seconds:,.1f} s" + (f", the network at {rate:.0f} tiles/s" if rate else "")
    for warning in summary["warnings"]:
        yield f"note: {warning}"
