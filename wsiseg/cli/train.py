"""`wsiseg train`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsiseg.train.epochs import Row
    from wsiseg.train.loop import Progress

_path = click.Path(path_type=Path)


@click.command()
@click.argument("config", type=_path, metavar="CONFIG.toml")
@click.option(
    "-o", "--out", type=_path, required=True, metavar="DIR",
    help="Where checkpoint, epochs, curves and bundle go; a killed training continues.",
)  # fmt: skip
@click.option(
    "--data", type=_path, metavar="DIR", help="Folder of the config's sources.  [default: the config's own]"
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps")
@click.option(
    "--encoder-weights", metavar="FILE|imagenet|none",
    help="What the encoder starts from, over the config: a safetensors file, the hub's weights, or chance.",
)  # fmt: skip
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard too, into DIR/tensorboard.")
@click.option("--fresh", is_flag=True, help="Begin anew, whatever DIR holds.")
def train(
    config: Path,
    out: Path,
    data: Path | None,
    *,
    encoder_weights: str | None,
    tensorboard: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Train a model and write it as a bundle.

    CONFIG.toml says everything about it and is saved whole in the bundle. A killed training continues. For several
    GPUs: torchrun --nproc-per-node=N -m wsiseg train ...
    """
    from wsiseg.train.config import TrainConfig
    from wsiseg.train.events import Events
    from wsiseg.train.loop import train as run_training

    root = data or config.parent
    recipe = TrainConfig.from_toml(config, None if encoder_weights is None else _named(encoder_weights, root))
    listeners: list[Callable[[Progress], None]] = [Report()]
    if tensorboard:
        listeners.append(Events(out / "tensorboard"))

    def tell(progress: Progress) -> None:
        for listener in listeners:
            listener(progress)

    outcome = run_training(recipe, out, root, progress=tell, **options)
    if outcome.already_complete:
        click.echo(f"Already complete; nothing to do: {out}")
    click.echo(f"bundle: {outcome.bundle.folder}")


def _named(encoder_weights: str, root: Path) -> str:
    """Name a file as configs do: from the data folder where it lies below it."""
    if encoder_weights in ("imagenet", "none"):
        return encoder_weights.removesuffix("none")
    path, folder = (Path(os.path.abspath(place)) for place in (encoder_weights, root))
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


class Report:
    """A line for each epoch, and one now and then: the first soon, so that a wrong setting shows at once."""

    SECONDS_BETWEEN = 20.0
    STEPS_BEFORE = 3
    """Before the first line; the step that this process began with tells nothing about the others."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._first = 0
        self._told = False

    def __call__(self, progress: Progress) -> None:
        """Tell of a step where that is due."""
        now = time.monotonic()
        if not self._first:
            self._first, self._start = progress.step, now
            if progress.step > 1:
                click.echo(f"going on after step {progress.step - 1:,}", err=True)
        if progress.row:
            click.echo(_epoch_line(progress.row, progress.epochs), err=True)
        steps = progress.step - self._first
        if steps < self.STEPS_BEFORE or (self._told and now - self._last < self.SECONDS_BETWEEN):
            return
        self._last, self._told = now, True
        each = (now - self._start) / steps
        left = (progress.steps - progress.step) * each
        click.echo(
            f"step {progress.step:,}/{progress.steps:,}, loss {progress.loss:.4f}, {each:.2f} s/step, "
            f"about {_duration(left)} left",
            err=True,
        )


def _epoch_line(row: Row, epochs: int) -> str:
    parts = (
        f"{title} loss {row[f'{part}_loss']:.4f} IoU {row[f'{part}_iou']:.4f} F {row[f'{part}_fscore']:.4f}"
        for part, title in (("train", "training"), ("val", "validation"))
    )
    return f"epoch {row['epoch']}/{epochs}: {'; '.join(parts)}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
