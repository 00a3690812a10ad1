"""`wsiseg export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from wsiseg.cli.options import folder_argument
from wsiseg.export import FORMATS


@click.command()
@folder_argument
@click.option("--to", required=True, type=click.Choice(list(FORMATS)), help="The format.")
@click.option(
    "-o", "--out", required=True, metavar="FILE", type=click.Path(path_type=Path),
    help="What to write; the format's ending may be left out.",
)  # fmt: skip
@click.option(
    "--coords", type=click.Choice(["qupath", "slide"]),
    help="Where GeoJSON has its (0, 0): at the slide's bounds, as QuPath, or at level 0's.  [default: qupath]",
)  # fmt: skip
def export(folder: Path, to: str, out: Path, coords: Literal["qupath", "slide"] | None) -> None:
    """Write a finished run in another format.

    DIR is a run directory; its files are checked first. Nuclei go to geojson (QuPath), geoparquet, flatgeobuf,
    csv and dsa (HistomicsUI), masks to ome-tiff, both to spatialdata. All coordinates but GeoJSON's are level-0
    pixels of the slide.
    """
    from wsiseg.errors import SettingsError
    from wsiseg.run.finished import export_run

    if coords and to != "geojson":
        raise SettingsError(
            "E-USAGE",
            "--coords is for geojson",
            where=f"--to {to}",
            fix="leave it out: coordinates are level-0 px",
        )
    for path in export_run(folder, to, out, coords or "qupath"):
        click.echo(f"{path}")
