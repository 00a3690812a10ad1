"""`wsiseg run`, `status` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsiseg.cli import print_json
from wsiseg.cli.options import folder_argument, json_option, max_unreadable_option, run_options, settings_from
from wsiseg.errors import printable


@click.command()
@run_options
@max_unreadable_option
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="DIR", help="Run directory.  [default: SLIDE-wsiseg]"
)
@click.option(
    "--ngff", type=click.Choice(["0.5", "0.4"]), default="0.5", show_default=True, help="OME-Zarr of the masks."
)
@click.option("--keep-work", is_flag=True, help="Keep maps and block results.")
@click.option("--fresh", is_flag=True, help="Set an earlier run in DIR aside and begin anew.")
def run(out: Path | None, *, fresh: bool, **options: Any) -> None:  # noqa: ANN401 - click's values
    """Find the nuclei of SLIDE.

    Called again with the same DIR, it continues where it was interrupted; a complete run is left alone.
    """
    from wsiseg.cli.display import print_outcome, watching
    from wsiseg.run import run_slide

    settings = settings_from(options)
    folder = out or settings.slide.with_name(f"{settings.slide.stem}-wsiseg")
    with watching() as progress:
        outcome = run_slide(settings, folder, progress=progress, fresh=fresh)
    print_outcome(outcome)


@click.command()
@folder_argument
@json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Say what a run directory is.

    One of absent, running, resumable, complete, complete-with-gaps, failed, damaged, foreign; with counts while it
    is unfinished. Of a cohort's folder: how many slides are what.
    """
    from wsiseg.run import inspect_run

    if (folder / "cohort.json").is_file():
        _cohort_status(folder, as_json=as_json)
        return
    found = inspect_run(folder)
    if as_json:
        print_json(found.as_dict())
        return
    click.echo(printable(f"{found.state}: {found.detail}"))
    if found.blocks_mapped:
        click.echo(
            f"blocks inferred {found.blocks_mapped}, decoded {found.blocks_decoded}; nuclei {found.nuclei:,}"
        )


def _cohort_status(folder: Path, *, as_json: bool) -> None:
    """Count the slides of a cohort by their last known state."""
    from wsiseg.cohort.book import count_states

    counts = count_states(folder / "cohort.jsonl")
    if as_json:
        print_json({"state": "cohort", "slides": counts})
        return
    for state, count in counts.items():
        click.echo(f"{state}: {count:,}")


@click.command()
@folder_argument
@click.option("--strict", is_flag=True, help="Refuse a run with gaps too.")
def verify(folder: Path, *, strict: bool) -> None:
    """Check every result of a run.

    Compares all files with the digests in COMPLETE.json; exit 8 if one has changed, is missing or was added.
    """
    from wsiseg.errors import DamageError
    from wsiseg.run import State, inspect_run, verify_run

    checked = verify_run(folder)
    found = inspect_run(folder)
    if found.state is State.GAPS and strict:
        raise DamageError("E-GAPS", found.detail, where=folder, fix="see report.html for where they lie")
    click.echo(f"intact: {checked} files match COMPLETE.json")
    if found.state is State.GAPS:
        click.echo(f"{found.state}: {found.detail}")
