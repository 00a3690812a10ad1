"""`wsiseg prepare nucls`."""

from __future__ import annotations

from pathlib import Path

import click

from wsiseg.cli import print_json
from wsiseg.cli.options import json_option

_path = click.Path(path_type=Path)


@click.group(no_args_is_help=False)
def prepare() -> None:
    """Make a data set ready to train on."""


@prepare.command()
@click.argument("source", metavar="SRC", type=_path)
@click.argument("target", metavar="DST", type=_path)
@click.option(
    "--mode",
    type=click.Choice(["strict", "thesis"]),
    default="strict",
    show_default=True,
    help="How fields are cropped, labelled and split.",
)
@click.option(
    "--classes",
    "grouping",
    type=click.Choice(["super", "main"]),
    help="Which of NuCLS' groupings the class maps hold; strict only.  [default: super]",
)
@json_option
def nucls(source: Path, target: Path, mode: str, grouping: str | None, *, as_json: bool) -> None:
    """Prepare NuCLS.

    SRC holds the folders rgb, csv and mask as published; it is only read. DST is made anew. Each image is decoded
    to its end, and broken files are named and left out.

    strict: whole fields; nuclei of which only a box is known, and what lies outside the field, are ignored in the
    loss; what each nucleus is goes into class maps; patients are split 70/15/15.

    thesis: the center 256 px; any nucleus = 1, boxes as filled rectangles; files are split 90/10 with seed 42.
    """
    from wsiseg.train.nucls.prepare import prepare_nucls
    from wsiseg.train.nucls.report import left_out_lines, summary_lines

    replaced = (target / "summary.json").is_file()
    content = prepare_nucls(source, target, mode, _show_fields, grouping).as_dict()
    if as_json:
        print_json(content)
        return
    for line in (*summary_lines(content), *left_out_lines(content)):
        click.echo(line)
    click.echo(f"{target}: index.csv, nuclei.csv, summary.md, summary.png{' (replaced)' if replaced else ''}")
    split = "val" if mode == "thesis" else "test"
    click.echo(f"next: wsiseg evaluate --data {target} --split {split}", err=True)
    click.echo(f'      wsiseg train CONFIG.toml --data {target.parent}, with folder = "{target.name}"', err=True)


def _show_fields(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        click.echo(f"{done}/{total} fields", err=True)
