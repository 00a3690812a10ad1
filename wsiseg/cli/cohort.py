"""`wsiseg cohort`: many slides, on this machine or a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsiseg.cli import print_json
from wsiseg.cli.options import json_option, max_unreadable_option, settings_from, shared_options


@click.command()
@click.argument("slides", nargs=-1, required=True, metavar="SLIDES... | LIST.csv")
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Cohort folder: a run directory a slide, cohort.csv, cohort.parquet and cohort.html.",
)  # fmt: skip
@shared_options
@max_unreadable_option
@click.option(
    "--scheduler", default="local", show_default=True, metavar="local|ADDRESS|FILE",
    help="Workers on this machine, or a running Dask cluster: its address or scheduler file.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="Workers on this machine, which share its cores.  [default: one a GPU, or one]",
)  # fmt: skip
@json_option
def cohort(
    slides: tuple[str, ...],
    out: Path,
    *,
    scheduler: str,
    workers: int | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Find the nuclei of many SLIDES.

    Files, folders, patterns, or a CSV with the columns slide and, if wanted, id, mpp, roi and tissue. A slide that
    fails is recorded and costs no other; exit 7 if any did. Called again, it does only what is missing.
    """
    from wsiseg.cli.cohort_display import print_rows, refusal, watching
    from wsiseg.cohort.listing import read_listing
    from wsiseg.cohort.pipeline import Workplace, run_cohort

    shared = settings_from({**options, "slide": Path()})
    listing = read_listing(slides)
    with watching() as watcher:
        rows = run_cohort(listing, shared, out, Workplace(scheduler, workers), watcher)
    if as_json:
        from dataclasses import asdict

        print_json({"slides": [asdict(row) for row in rows]})
    else:
        print_rows(rows, out)
    error = refusal(rows, out)
    if error is not None:
        raise error
