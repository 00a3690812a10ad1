"""The epochs of a training for people: `epochs.csv`, and the thesis' curves from it as `curves.png`."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wsiseg import fsio
from wsiseg.train.figures import QUIET, as_png, new_figure, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from wsiseg.train.epochs import Row

_PANELS = (("loss", "Loss"), ("iou", "IoU"), ("fscore", "F-score"))
_PARTS = (("train", "training", "#d55e00"), ("val", "validation", "#0072b2"))
_SECONDS_AFTER = "learning_rate"


def write_epochs(path: Path, rows: Sequence[Row], seconds: Mapping[str, float]) -> None:
    """Write a CSV with a line for each epoch; figures have 6 digits.

    Parameters
    ----------
    seconds
        By the epoch's number.
    """
    out = io.StringIO()
    lines = [_with_seconds(row, seconds.get(str(row["epoch"]), 0.0)) for row in rows]
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _shown(value) for name, value in line.items()} for line in lines)
    fsio.write_atomic(path, out.getvalue().encode())


def _with_seconds(row: Row, seconds: float) -> Row:
    line: Row = {}
    for name, value in row.items():
        line[name] = value
        if name == _SECONDS_AFTER:
            line["seconds"] = seconds
    return line


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def draw_curves(path: Path, rows: Sequence[Row]) -> None:
    """Draw loss, IoU and F-score over the epochs, of training and validation, into a PNG."""
    figure = new_figure(11, 3.6)
    for axes, (name, title) in zip(figure.subplots(1, 3), _PANELS, strict=True):
        _draw_panel(axes, name, title, rows)
    figure.legend(
        handles=[Line2D([], [], color=colour, linewidth=2, label=label) for _, label, colour in _PARTS],
        loc="outside upper right", ncols=2, frameon=False,
    )  # fmt: skip
    fsio.write_atomic(path, as_png(figure))


def _draw_panel(axes: Axes, name: str, title: str, rows: Sequence[Row]) -> None:
    plain(axes, title)
    epochs = [row["epoch"] for row in rows]
    for part, _, colour in _PARTS:
        values = [row[f"{part}_{name}"] for row in rows]
        # A line needs two points; the first epochs must be seen too.
        axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o" if len(rows) < 5 else "", markersize=4)
    axes.set_xlabel("epoch", color=QUIET)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
