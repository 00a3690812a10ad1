"""The words and tables of a comparison, as sections of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsiseg.train.compare.document import Picture, Section, Table
from wsiseg.train.compare.runs import IMAGENET, RANDOM
from wsiseg.train.compare.speed import BATCH, TILE_PX
from wsiseg.train.compare.thesis import TABLE_5_1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsiseg.train.compare.measured import Measured
    from wsiseg.train.compare.runs import Figures, Run
    from wsiseg.train.scores import EvaluationResult

_EPOCH_COLUMNS = (
    "model", "began with", "epoch", "training loss", "IoU", "F-score", "validation loss", "IoU", "F-score",
    "IoU at the end",
)  # fmt: skip
_MODEL_COLUMNS = "model", "encoder", "head", "parameters", "tiles a second"
_FIELD_COLUMNS = "IoU", "95 % interval", "F-score", "Dice", "F1", "PQ"


def epochs_section(runs: Sequence[Run]) -> Section:
    """Lay out table 5.1: each training's best epoch, and the thesis' rows beside those of the same encoder."""
    rows: list[tuple[str, ...]] = []
    quiet: set[int] = set()
    last_with = {run.bundle.spec.encoder: run for run in runs}
    for run in runs:
        rows.append(_epoch_row(run))
        encoder = run.bundle.spec.encoder
        if encoder in TABLE_5_1 and last_with[encoder] is run:
            quiet.add(len(rows))
            name, figures = TABLE_5_1[encoder].name, TABLE_5_1[encoder]
            cells = *_three(figures.train), *_three(figures.val)
            rows.append((f"{name} in the thesis", IMAGENET, "", *cells, ""))
    text = (
        "Table 5.1 of the thesis, for the models at hand. Each is shown at the epoch of its highest validation "
        "IoU. The validation fields themselves chose that epoch, so its figures flatter; the last column has the "
        "validation IoU after the last epoch."
    )
    table = Table(_EPOCH_COLUMNS, tuple(rows), frozenset(quiet))
    return Section("Training and validation", (text,), table, notes=_epoch_notes(runs, beside_thesis=bool(quiet)))


def _epoch_row(run: Run) -> tuple[str, ...]:
    best, last = run.best, run.epochs[-1]
    epoch = f"{best.epoch} of {last.epoch}"
    return run.name, run.start, epoch, *_three(best.train), *_three(best.val), f"{last.val.iou:.4f}"


def _three(figures: Figures) -> tuple[str, str, str]:
    return f"{figures.loss:.4f}", f"{figures.iou:.4f}", f"{figures.fscore:.4f}"


def _epoch_notes(runs: Sequence[Run], *, beside_thesis: bool) -> tuple[str, ...]:
    notes = [
        "IoU and F-score are means over the classes background and nucleus and over the batches of an epoch, as "
        "the thesis' library computes them. Most pixels are background, which lifts both."
    ]
    if random := [run.name for run in runs if run.start == RANDOM]:
        notes.append(
            f"Begun with random weights, not with ImageNet's: {', '.join(random)}. Such a network needs more data "
            "and time to get as far."
        )
    if len({run.bundle.spec.head for run in runs}) > 1:
        notes.append("The models have different heads, whose losses do not compare with each other.")
    if beside_thesis:
        notes.append(
            "In italics: what the thesis reports. Its networks began with ImageNet weights and learned the whole "
            "of NuCLS, so its figures compare only with trainings on the same fields and split."
        )
    return tuple(notes)


def curves_section(png: bytes) -> Section:
    """Show the curves."""
    picture = Picture("curves.png", png, "Loss, IoU and F-score over the epochs of each training")
    return Section("Curves", picture=picture)


def panels_section(png: bytes, chosen: Sequence[tuple[int, int]], scored: EvaluationResult) -> Section:
    """Show the panels of some fields, given by rank and index."""
    text = (
        f"Figures 5.10 to 5.12 of the thesis: fields of {scored.data}, {scored.split}, and the pixels that each "
        f"model takes for nucleus. All {len(scored.fields)} fields were ranked by the mean IoU of all models, the "
        "worst first; those shown stand at even distances in that order, the worst and the best among them."
    )
    picture = Picture("panels.png", png, "Fields with their truth and the nuclei that each model sees")
    notes = tuple(f"Field {rank}: {scored.fields[index].image}" for rank, index in chosen)
    return Section("Predictions", (text,), picture=picture, notes=notes)


def models_section(models: Sequence[Measured], png: bytes | None, device: str) -> Section:
    """Lay out size and speed, and figures on whole fields where there are any."""
    text = [
        f"Tiles a second: {TILE_PX} px tiles, {BATCH} at a time (a CPU takes them one by one), bytes in and bytes "
        f"out, as in a run over a slide. Measured on {device}."
    ]
    if scored := models[0].evaluation:
        text.append(
            f"The other figures are those of the bundles on {scored.data}, {scored.split}, {len(scored.fields)} "
            "whole fields. IoU and F-score are the thesis', of pixels, each field a batch; the interval of IoU "
            "is over patients. Dice, F1 and PQ are those of single nuclei after decoding, which the semantic head "
            "cannot part where they touch."
        )
    picture = Picture("speed.png", png, "Accuracy of each model against its tiles a second") if png else None
    table = Table((*_MODEL_COLUMNS, *(_FIELD_COLUMNS if scored else ())), tuple(map(_model_row, models)))
    return Section("Size, speed and accuracy", tuple(text), table, picture)


def _model_row(model: Measured) -> tuple[str, ...]:
    spec = model.run.bundle.spec
    size, speed = f"{model.parameters / 1e6:.1f} M", f"{model.tiles_per_second:.1f}"
    cells = (model.run.name, spec.encoder, spec.head, size, speed)
    if not model.evaluation:
        return cells
    summary, interval = model.evaluation.summary(), model.iou_interval
    thesis, pooled = summary["thesis"], summary["pooled"]
    figures = (thesis["fscore"], pooled["dice"], pooled["f1"], pooled["pq"])
    ends = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""
    return (*cells, f"{thesis['iou']:.4f}", ends, *(f"{value:.4f}" for value in figures))
