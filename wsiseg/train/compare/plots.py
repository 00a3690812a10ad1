"""Curves of the trainings, and accuracy against speed, as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D

from wsiseg.train.figures import COLOURS, INK, QUIET, as_png, new_figure, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from wsiseg.train.compare.runs import Run

_TRAINING: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.1, "alpha": 0.8}
_BOLD = 1.9
_PANELS = (("loss", "Loss"), ("iou", "IoU"), ("fscore", "F-score"))


def draw_curves(runs: Sequence[Run]) -> bytes:
    """Draw loss, IoU and F-score over the epochs: training thin and dashed, validation solid."""
    figure = new_figure(11, 3.9)
    for axes, (name, title) in zip(figure.subplots(1, 3), _PANELS, strict=True):
        plain(axes, title)
        for colour, run in _coloured(runs):
            epochs = [epoch.epoch for epoch in run.epochs]
            mark = "o" if len(epochs) == 1 else None  # a line of one point is invisible
            training = [getattr(epoch.train, name) for epoch in run.epochs]
            validation = [getattr(epoch.val, name) for epoch in run.epochs]
            axes.plot(epochs, training, marker=mark, color=colour, markersize=3, **_TRAINING)
            axes.plot(epochs, validation, marker=mark, color=colour, markersize=3, linewidth=_BOLD)
            if name == "iou":
                axes.plot(run.best.epoch, run.best.val.iou, "o", color=colour, markersize=6, zorder=5)
        axes.set_xlabel("epoch", color=QUIET)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, runs)
    return as_png(figure)


def _coloured(runs: Sequence[Run]) -> list[tuple[str, Run]]:
    return [(COLOURS[index % len(COLOURS)], run) for index, run in enumerate(runs)]


def _legend(figure: Figure, runs: Sequence[Run]) -> None:
    handles = [Line2D([], [], color=colour, linewidth=3, label=run.name) for colour, run in _coloured(runs)]
    handles += [
        Line2D([], [], color=QUIET, linewidth=_BOLD, label="validation"),
        Line2D([], [], color=QUIET, label="training", **_TRAINING),
        Line2D([], [], color=QUIET, marker="o", linestyle="", markersize=6, label="best validation IoU"),
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=6, frameon=False, fontsize=9.5, labelcolor=INK,
        handlelength=2.2, columnspacing=1.8,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SpeedPoint:
    """One model in the plot of accuracy against speed."""

    name: str
    mm2_per_minute: float
    """Tissue that the network alone can take."""
    accuracy: float
    interval: tuple[float, float] | None
    """Bounds of the accuracy, where they are known."""
    parameters: int


def draw_speed(points: Sequence[SpeedPoint], accuracy: str) -> bytes:
    """Draw accuracy, whose name is given, against mm2 a minute; the colours are those of the curves."""
    figure = new_figure(7.5, 4.6)
    axes = figure.subplots()
    plain(axes)
    handles = []
    for index, point in enumerate(points):
        colour = COLOURS[index % len(COLOURS)]
        if point.interval:
            axes.vlines(point.mm2_per_minute, *point.interval, color=colour, linewidth=2, alpha=0.5)
        axes.plot(point.mm2_per_minute, point.accuracy, "o", color=colour, markersize=11)
        label = f"{point.name} ({point.parameters / 1e6:.1f} M parameters)"
        handles.append(Line2D([], [], color=colour, marker="o", markersize=8, linestyle="", label=label))
    axes.set_xlim(0, 1.15 * max(point.mm2_per_minute for point in points))
    axes.margins(y=0.15)
    axes.set_xlabel("mm² of tissue a minute (further right is faster)", color=QUIET)
    axes.set_ylabel(accuracy, color=QUIET)
    figure.legend(handles=handles, loc="outside upper left", frameon=False, fontsize=9.5, labelcolor=INK)
    return as_png(figure)
