"""Compare models: read their trainings, measure and evaluate them, and write tables, figures and one page."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from wsiseg import __version__, fsio
from wsiseg.models.devices import choose_device
from wsiseg.models.network import count_parameters
from wsiseg.predict import Numerics
from wsiseg.train.compare.chapters import curves_section, epochs_section, models_section, panels_section
from wsiseg.train.compare.document import as_html, as_markdown
from wsiseg.train.compare.fields import chosen_fields, panel_rows
from wsiseg.train.compare.measured import Measured
from wsiseg.train.compare.panels import draw_panels
from wsiseg.train.compare.plots import SpeedPoint, draw_curves, draw_speed
from wsiseg.train.compare.runs import read_runs
from wsiseg.train.compare.speed import tiles_per_second
from wsiseg.train.data import read_index
from wsiseg.train.evaluate import evaluate_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from wsiseg.train.compare.document import Section
    from wsiseg.train.compare.runs import Run

TITLE = "Comparison of models"
PICTURES = "curves.png", "panels.png", "speed.png"


def compare_runs(
    folders: Sequence[Path],
    out: Path,
    data: Path | None = None,
    split: str = "val",
    device: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Compare trainings and bundles, and give the path of the page.

    Parameters
    ----------
    folders
        Folders that `wsiseg train` made, or bundles.
    out
        Gets comparison.md, .html and .json, and the figures as PNG.
    data
        Folder with `index.csv`; without it there are no figures of whole fields, and no panels.
    say
        Called with a line before each lengthy step.

    Raises
    ------
    BundleError
        A folder holds no bundle, or one that is refused.
    SettingsError
        E-DATA: the fields cannot be used. E-DEVICE: no such device here. E-USAGE: a folder is named twice.
    """
    # Trainings first: so a model has the same colour in every figure.
    runs = sorted(read_runs(folders), key=lambda run: not run.epochs)
    if data:
        read_index(data, split)  # refuses a folder of dots, which have no masks to draw, before any work
    numerics = Numerics.of(choose_device(device))
    models = []
    for run in runs:
        say(f"measuring {run.name}")
        speed = tiles_per_second(run.bundle, device)
        found = evaluate_bundle(run.bundle, data, split, device) if data else None
        models.append(Measured(run, count_parameters(run.bundle.spec), speed, found))
    sections = [*_of_epochs(runs)]
    if data:
        say("drawing fields")
        sections.append(_of_fields(models, data, device))
    threads = f", {numerics.threads} threads" if numerics.threads else ""
    sections.append(_of_models(models, f"{numerics.device}, {numerics.dtype}{threads}"))
    _write(out, sections)
    record = {"wsiseg_version": __version__, "numerics": asdict(numerics), "models": [_record(m) for m in models]}
    fsio.write_atomic(out / "comparison.json", orjson.dumps(record, option=orjson.OPT_INDENT_2))
    return out / "comparison.html"


def _of_epochs(runs: Sequence[Run]) -> Iterator[Section]:
    """Give table and curves of those that were trained where their epochs are known."""
    trained = [run for run in runs if run.epochs]
    if trained:
        yield epochs_section(trained)
        yield curves_section(draw_curves(trained))


def _of_fields(models: Sequence[Measured], data: Path, device: str) -> Section:
    scored = [model.evaluation for model in models if model.evaluation]
    chosen = chosen_fields(scored)
    rows = panel_rows([model.run.bundle for model in models], scored, data, chosen, device)
    return panels_section(draw_panels(rows, [model.run.name for model in models]), chosen, scored[0])


def _of_models(models: Sequence[Measured], device: str) -> Section:
    points = [
        SpeedPoint(model.run.name, 60 / model.seconds_per_mm2, model.iou, model.iou_interval, model.parameters)
        for model in models
        if model.iou is not None
    ]
    accuracy = "IoU on whole fields" if models[0].evaluation else "validation IoU, best epoch"
    return models_section(models, draw_speed(points, accuracy) if points else None, device)


def _write(out: Path, sections: Sequence[Section]) -> None:
    pictures = {section.picture.file: section.picture.png for section in sections if section.picture}
    for name in PICTURES:
        if name in pictures:
            fsio.write_atomic(out / name, pictures[name])
        else:
            fsio.remove(out / name)  # of an earlier comparison of other models
    fsio.write_atomic(out / "comparison.md", as_markdown(TITLE, sections).encode())
    footer = f"wsiseg {__version__}. For research, not for diagnosis."
    fsio.write_atomic(out / "comparison.html", as_html(TITLE, sections, footer).encode())


def _record(model: Measured) -> dict[str, Any]:
    """Give what a script may want of a model."""
    run, spec = model.run, model.run.bundle.spec
    return {
        "name": run.name,
        "bundle": spec.name,
        "bundle_sha256": run.bundle.sha256,
        "encoder": spec.encoder,
        "head": spec.head,
        "began_with": run.start,
        "parameters": model.parameters,
        "mpp": spec.mpp,
        "tiles_per_second": round(model.tiles_per_second, 2),
        "seconds_per_mm2": round(model.seconds_per_mm2, 2),
        "best_epoch": asdict(run.best) if run.epochs else None,
        "last_epoch": asdict(run.epochs[-1]) if run.epochs else None,
        "evaluation": model.evaluation.summary() if model.evaluation else None,
    }
