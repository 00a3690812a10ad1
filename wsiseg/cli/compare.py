"""`wsiseg compare`."""

from __future__ import annotations

from pathlib import Path

import click

_path = click.Path(path_type=Path)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_path, metavar="RUN...")
@click.option(
    "-o", "--out", type=_path, required=True, metavar="DIR", help="Gets comparison.html, .md, .json and figures."
)
@click.option(
    "--data", type=_path, metavar="DIR", help="Fields to evaluate and show; without them only what was recorded."
)
@click.option("--split", default="val", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps")
def compare(runs: tuple[Path, ...], out: Path, data: Path | None, split: str, device: str) -> None:
    """Compare trainings and bundles, as the thesis does.

    RUN is a folder that `wsiseg train` made, or a bundle. Table 5.1 (IoU, loss, F-score), curves, panels of image,
    truth and predictions, parameters, tiles a second, accuracy against speed: as Markdown, PNG and one HTML page.
    """
    from wsiseg.train.compare.comparison import compare_runs

    page = compare_runs(runs, out, data, split, device, lambda line: click.echo(line, err=True))
    click.echo(f"{page}")
