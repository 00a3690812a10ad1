"""Curves of the trainings, and accuracy against speed, as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from wsiseg.train.compare.runs import Run

INK, QUIET, LINE = "#23262b", "#5d636d", "#dedfdb"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which people without full colour vision can tell apart; taken in turn."""
DPI = 150
_TRAINING: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.1, "alpha": 0.8}
_BOLD = 1.9
_PANELS = (("loss", "Loss"), ("iou", "IoU"), ("fscore", "F-score"))


def new_figure(width_in: float, height_in: float) -> Figure:
    """Give an empty figure that draws to memory and touches no global state."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure) -> bytes:
    """Draw a figure; equal figures give equal bytes."""
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def draw_curves(runs: Sequence[Run]) -> bytes:
    """Draw loss, IoU and F-score over the epochs: training thin and dashed, validation solid."""
    figure = new_figure(11, 3.9)
    for axes, (name, title) in zip(figure.subplots(1, 3), _PANELS, strict=True):
        _plain(axes, title)
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


def _plain(axes: Axes, title: str) -> None:
    """Leave of the axes only what carries information."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=9, length=3)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


@dataclass(frozen=True, slots=True)
class SpeedPoint:
    """One model in the plot of accuracy against speed."""

    name: str
    tiles_per_second: float
    accuracy: float
    interval: tuple[float, float] | None
    """Bounds of the accuracy, where they are known."""
    parameters: int


def draw_speed(points: Sequence[SpeedPoint], accuracy: str) -> bytes:
    """Draw accuracy, whose name is given, against tiles a second; the colours are those of the curves."""
    figure = new_figure(7.5, 4.6)
    axes = figure.subplots()
    _plain(axes, "")
    handles = []
    for index, point in enumerate(points):
        colour = COLOURS[index % len(COLOURS)]
        if point.interval:
            axes.vlines(point.tiles_per_second, *point.interval, color=colour, linewidth=2, alpha=0.5)
        axes.plot(point.tiles_per_second, point.accuracy, "o", color=colour, markersize=11)
        label = f"{point.name} ({point.parameters / 1e6:.1f} M parameters)"
        handles.append(Line2D([], [], color=colour, marker="o", markersize=8, linestyle="", label=label))
    axes.set_xlim(0, 1.15 * max(point.tiles_per_second for point in points))
    axes.margins(y=0.15)
    axes.set_xlabel("tiles a second (further right is faster)", color=QUIET)
    axes.set_ylabel(accuracy, color=QUIET)
    figure.legend(handles=handles, loc="outside upper left", frameon=False, fontsize=9.5, labelcolor=INK)
    return as_png(figure)
