"""`wsiseg train` and `wsiseg evaluate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsiseg.cli import print_json
from wsiseg.cli.options import json_option

if TYPE_CHECKING:
    from wsiseg.train.loop import Progress

_path = click.Path(path_type=Path)


@click.command()
@click.argument("config", type=_path, metavar="CONFIG.toml")
@click.option(
    "-o",
    "--out",
    type=_path,
    required=True,
    metavar="DIR",
    help="Checkpoint and bundle; a killed training continues.",
)
@click.option(
    "--data", type=_path, metavar="DIR", help="Folder of the config's sources.  [default: the config's own]"
)
@click.option("--fresh", is_flag=True, help="Begin anew, whatever DIR holds.")
def train(config: Path, out: Path, data: Path | None, *, fresh: bool) -> None:
    """Train a model and write it as a bundle.

    CONFIG.toml says everything about it and is saved whole in the bundle. A killed training continues.
    """
    from wsiseg.train.export import export_bundle
    from wsiseg.train.loop import train as run_training

    checkpoint = run_training(config, out, data, resume=not fresh, progress=_Report())
    bundle = export_bundle(config, checkpoint, out / "bundle")
    click.echo(f"bundle: {bundle.folder}")


class _Report:
    """A line now and then: early ones soon, so that a wrong setting shows at once."""

    SECONDS_BETWEEN = 20.0

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._start = progress.step, now
        if progress.validation:
            figures = ", ".join(f"{name} {value:.4f}" for name, value in progress.validation.items())
            click.echo(f"step {progress.step}: {figures}", err=True)
        if now - self._last < self.SECONDS_BETWEEN:
            return
        self._last = now
        each = (now - self._start) / max(progress.step - self._first, 1)
        left = (progress.steps - progress.step) * each
        click.echo(
            f"step {progress.step}/{progress.steps}, loss {progress.loss:.4f}, {each:.2f} s/step, "
            f"about {left / 60:.0f} min left",
            err=True,
        )


@click.command()
@click.option("--model", metavar="BUNDLE", help="A bundle's name or folder.  [default: the package's]")
@click.option(
    "--data", type=_path, required=True, metavar="DIR", help="Folder with index.csv, images and instance maps."
)
@click.option("--split", default="test", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@json_option
def evaluate(model: str | None, data: Path, split: str, device: str, *, as_json: bool) -> None:
    """Score a bundle on labelled fields.

    Dice, F1 at IoU 0.5, PQ and AJI, pooled and as means over images, at the resolution of the truth.
    """
    from wsiseg.models.bundle import DEFAULT_BUNDLE, load_bundle
    from wsiseg.train.evaluate import evaluate_bundle

    result = evaluate_bundle(load_bundle(model or DEFAULT_BUNDLE), data, split, device, _show_images).as_dict()
    if as_json:
        print_json(result)
        return
    click.echo(f"{result['bundle']} on {result['images']} images of {data.name}, {split}")
    click.echo(f"{result['nuclei_predicted']:,} nuclei found, {result['nuclei_true']:,} true")
    for name, mean in result["mean"].items():
        click.echo(f"  {name:<5} {result[name]:.4f}   mean of images {mean:.4f}")
    click.echo(f"  precision {result['precision']:.4f}, recall {result['recall']:.4f}")


def _show_images(done: int, total: int) -> None:
    if done % 20 == 0 or done == total:
        click.echo(f"{done}/{total} images", err=True)
