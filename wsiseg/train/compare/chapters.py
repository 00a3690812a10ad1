"""The words and tables of a comparison, as sections of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsiseg.models.facts import IMAGENET, RANDOM, trained_for, trained_on
from wsiseg.train.compare.document import Picture, Section
from wsiseg.train.compare.speed import BATCH, TILE_PX
from wsiseg.train.compare.thesis import KERAS_MEAN_IOU, TABLE_5_1
from wsiseg.train.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsiseg.train.compare.measured import Measured
    from wsiseg.train.compare.runs import Figures, Run
    from wsiseg.train.scores import EvaluationResult

_EPOCH_COLUMNS = (
    "model", "began with", "epoch", "training loss", "training IoU", "training F-score", "validation loss",
    "validation IoU", "validation F-score", "validation IoU at the end",
)  # fmt: skip
_MODEL_COLUMNS = "model", "encoder", "head", "um/px", "parameters", "tiles a second", "s/mm²"
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
        "the thesis' library computes them. Background is the easier class, which lifts both."
    ]
    if random := [run.name for run in runs if run.start == RANDOM]:
        notes.append(
            f"Begun with random weights, not with ImageNet's: {', '.join(random)}. Such a network needs more data "
            "and time to get as far."
        )
    notes += _differences(runs)
    if len({run.bundle.spec.head for run in runs}) > 1:
        notes.append("The models have different heads, whose losses do not compare with each other.")
    if beside_thesis:
        notes.append(
            "In italics: what the thesis reports. Its networks began with ImageNet weights and learned the whole "
            "of NuCLS, so its figures compare only with trainings on the same fields and split."
        )
    return tuple(notes)


def _differences(runs: Sequence[Run]) -> Iterator[str]:
    """Say where trainings differ in what makes their figures comparable."""
    for told_by, meaning in (
        (trained_on, "Trained and validated on different data, so these figures do not compare"),
        (trained_for, "Trained for different times"),
    ):
        told = {run.name: told_by(run.bundle.spec) or "not stated" for run in runs}
        if len(set(told.values())) > 1:
            yield f"{meaning}: {'; '.join(f'{name}: {text}' for name, text in told.items())}."


def curves_section(png: bytes) -> Section:
    """Show the curves."""
    picture = Picture("curves.png", png, "Loss, IoU and F-score over the epochs of each training")
    text = "Figures 5.1 to 5.9 of the thesis, one for each network and figure, laid over each other."
    return Section("Curves", (text,), picture=picture)


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
        "out, as in a run over a slide. Seconds per mm² of tissue follow from it and um/px; a run takes a little "
        f"longer, for it reads more than the tiles. Measured on {device}."
    ]
    scored = models[0].evaluation
    if scored:
        text.append(
            f"The other figures are those of the bundles on {scored.data}, {scored.split}, {len(scored.fields)} "
            "whole fields. IoU and F-score are the thesis', of pixels, each field a batch; the interval of IoU "
            "is over patients. Dice, F1 and PQ are those of single nuclei after decoding, which the semantic head "
            "cannot part where they touch."
        )
    picture = Picture("speed.png", png, "Accuracy of each model against its speed") if png else None
    table = Table((*_MODEL_COLUMNS, *(_FIELD_COLUMNS if scored else ())), tuple(map(_model_row, models)))
    return Section("Size, speed and accuracy", tuple(text), table, picture, _keras_note(models))


def _keras_note(models: Sequence[Measured]) -> tuple[str, ...]:
    found = [
        f"{model.run.name} {model.evaluation.summary()['thesis']['keras_mean_iou']:.4f}"
        for model in models
        if model.evaluation
    ]
    if not found:
        return ()
    thesis = f"The thesis has {KERAS_MEAN_IOU}, of a single batch of its own fields."
    return (f"Keras' mean IoU, of the pixels of all fields together: {', '.join(found)}. {thesis}",)


def _model_row(model: Measured) -> tuple[str, ...]:
    spec = model.run.bundle.spec
    size = f"{model.parameters / 1e6:.1f} M"
    speeds = f"{model.tiles_per_second:.1f}", f"{model.seconds_per_mm2:,.0f}"
    cells = (model.run.name, spec.encoder, spec.head, f"{spec.mpp:g}", size, *speeds)
    if not model.evaluation:
        return cells
    summary, interval = model.evaluation.summary(), model.iou_interval
    thesis, pooled = summary["thesis"], summary["pooled"]
    figures = (thesis["fscore"], pooled["dice"], pooled["f1"], pooled["pq"])
    ends = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""
    return (*cells, f"{thesis['iou']:.4f}", ends, *(f"{value:.4f}" for value in figures))
