"""The figures of types as tables and sentences, for a terminal and for a model card."""

from __future__ import annotations

from typing import Any

from wsiseg.train.metrics import MATCH_IOU
from wsiseg.train.tables import Table, with_interval
from wsiseg.train.types import REACH_UM

_PAIRED = {
    "distance": f"if the centroid lies within {REACH_UM:g} um of the dot",
    "iou": f"at an IoU above {MATCH_IOU:g}",
}


def counted_how(types: dict[str, Any]) -> str:
    """Say how figures of types were counted.

    Parameters
    ----------
    types
        As `wsiseg.train.typescores.type_figures` gives them.
    """
    return (
        f"A true and a found nucleus of one class match one to one {_PAIRED[types['matched_by']]}; what is left "
        "of either is wrong."
    )


def class_table(types: dict[str, Any]) -> Table:
    """Lay out F1, precision and recall of each class, their mean, and those of all classes together."""
    rows = [_class_row(name, figures) for name, figures in types["classes"].items()]
    if mean := types["mean"]:
        rows.append(("mean", "", "", with_interval(mean["f1"], mean["interval"]), "", ""))
    rows.append(_class_row("whatever the class", types["all_classes"]))
    return Table(("type", "true", "found", "F1", "precision", "recall"), tuple(rows))


def _class_row(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{figures['true']:,}",
        f"{figures['predicted']:,}",
        with_interval(figures["f1"], figures["intervals"]["f1"]),
        f"{figures['precision']:.3f}",
        f"{figures['recall']:.3f}",
    )


def confusion_table(types: dict[str, Any]) -> Table:
    """Lay out the confusion: a row for each true class, a column for each that nuclei were taken for."""
    confusion = types["confusion"]
    rows = [
        (name, *(f"{count:,}" for count in (*nuclei, missed)))
        for name, nuclei, missed in zip(confusion["true"], confusion["nuclei"], confusion["missed"], strict=True)
    ]
    rows.append(("no true nucleus", *(f"{count:,}" for count in confusion["invented"]), ""))
    return Table(("truth", *confusion["predicted"], "missed"), tuple(rows))


def calibration_line(types: dict[str, Any]) -> str:
    """Say how far the probabilities of what nuclei were taken for are true; nothing where that is not known."""
    found = types["calibration"]
    if not found:
        return ""
    return (
        f"Of {found['nuclei']:,} matched nuclei {found['right']:.1%} have the class that they were taken for, "
        f"at a mean probability of {found['probability']:.1%} (expected calibration error "
        f"{found['expected_error']:.3f})."
    )


def calibration_table(types: dict[str, Any]) -> Table:
    """Lay out the calibration by the probability of what nuclei were taken for."""
    rows = (
        (
            f"{each['from']:.1f} to {each['to']:.1f}",
            f"{each['nuclei']:,}",
            f"{each['probability']:.3f}",
            f"{each['right']:.3f}",
        )
        for each in types["calibration"]["bins"]
    )
    return Table(("probability", "nuclei", "mean", "right"), tuple(rows))
