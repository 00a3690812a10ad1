"""A survey as one picture: classes, super classes, how nuclei and pixels are labelled, and nucleus sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg.train.figures import INK, QUIET, as_png, new_figure
from wsiseg.train.nucls.published import BOX, OUTLINE, POINT
from wsiseg.train.nucls.survey import KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from wsiseg.train.nucls.survey import Survey

_COLORS = {OUTLINE: "#0f766e", BOX: "#f0a33a", POINT: "#8b5cf6"}
_NAMES = {OUTLINE: "outline", BOX: "box only", POINT: "point only"}
_PIXEL_COLORS = {"counted": "#0f766e", "box_only": "#f0a33a", "outside_field": "#c9ced6"}
_PIXEL_NAMES = {"counted": "counted", "box_only": "ignored:\nbox", "outside_field": "ignored:\noutside"}
_RULE_COLORS = {"nucleus": "#0f766e", "outside_field": "#c9ced6"}
_RULE_NAMES = {"nucleus": "nucleus", "outside_field": "outside the\nfield (code 0)"}
_GRID = "#eef0f3"


def survey_png(survey: Survey) -> bytes:
    """Draw a survey and give the PNG's bytes."""
    content = survey.as_dict()
    figure = new_figure(11.5, 8.2)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12, wspace=0.02, hspace=0.04)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1), height_ratios=(1.35, 1))
    figure.suptitle(
        f"NuCLS, {survey.mode}: {content['fields']:,} fields of {content['patients']:,} patients, "
        f"{content['nuclei']:,} nuclei",
        x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK,
    )  # fmt: skip
    _draw_counts(figure.add_subplot(grid[0, 0]), "Nuclei by class", content["classes"])
    _draw_counts(figure.add_subplot(grid[0, 1]), "Nuclei by super class", content["super_classes"])
    _draw_sizes(figure.add_subplot(grid[1, 0]), survey)
    _draw_shares(figure.add_subplot(grid[1, 1]), content)
    return as_png(figure)


def _titled(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#d1d5db")
    axes.tick_params(colors=QUIET, labelsize=9.5, length=0)


def _draw_counts(axes: Axes, title: str, groups: dict[str, dict[str, int]]) -> None:
    """Horizontal bars of counts, the most frequent on top, stacked by how the nuclei are labelled."""
    _titled(axes, title)
    names = list(groups)
    left = np.zeros(len(names))
    for kind in KINDS:
        counts = np.array([groups[name][kind] for name in names])
        if counts.any():
            axes.barh(names, counts, left=left, color=_COLORS[kind], height=0.68, label=_NAMES[kind])
        left += counts
    for row, total in enumerate(left):
        axes.text(total + max(left) * 0.015, row, f"{total:,.0f}", va="center", fontsize=9.5, color=INK)
    axes.set_xlim(0, max(left) * 1.13)
    axes.invert_yaxis()
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], color=INK)
    axes.xaxis.grid(visible=True, color=_GRID)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False, fontsize=9.5, labelcolor=INK)


def _draw_sizes(axes: Axes, survey: Survey) -> None:
    """Histograms of diameters, one for boxes and one for outlines, each with its median."""
    _titled(axes, "Nucleus diameter")
    found = {kind: survey.diameters_um(kind) for kind in (BOX, OUTLINE)}
    # The largest are a handful of boxes; they would squeeze the rest.
    end = np.percentile(np.concatenate([*found.values(), [10.0]]), 99.5)
    bins = np.arange(0, end + 0.5, 0.5).tolist()
    for kind, diameters in found.items():
        if len(diameters):
            median = float(np.median(diameters))
            label = f"{_NAMES[kind]}, median {median:.1f} µm"
            axes.hist(diameters, bins, color=_COLORS[kind], alpha=0.35, label=label, histtype="stepfilled")
            axes.hist(diameters, bins, color=_COLORS[kind], linewidth=1.6, histtype="step")
            axes.axvline(median, color=_COLORS[kind], linewidth=1.6, linestyle="--")
    axes.set_xlabel("µm; of a box, that of the ellipse inside it", color=QUIET, fontsize=9.5)
    axes.set_ylabel("nuclei", color=QUIET, fontsize=9.5)
    axes.set_xlim(0, bins[-1])
    axes.yaxis.grid(visible=True, color=_GRID)
    axes.set_axisbelow(True)
    axes.legend(loc="upper right", frameon=False, fontsize=9.5, labelcolor=INK)


def _draw_shares(axes: Axes, content: dict[str, Any]) -> None:
    """Bars of 100 %: how nuclei are labelled; and which pixels count, or what the thesis' rule calls nucleus."""
    _titled(axes, "Shares")
    bars = [("nuclei", content["kinds"], _COLORS, _NAMES)]
    if "pixels" in content:
        bars.append(("pixels", content["pixels"], _PIXEL_COLORS, _PIXEL_NAMES))
    elif rule := content["thesis_rule"]["total"]:
        bars.append(("nucleus pixels by\nthe thesis' rule", rule, _RULE_COLORS, _RULE_NAMES))
    for row, (_, counts, colors, names) in enumerate(bars):
        left, total = 0.0, max(sum(counts[name] for name in colors), 1)
        for name, color in colors.items():
            share = counts[name] / total
            axes.barh(row, share, left=left, color=color, height=0.36)
            if share > 0.08:
                middle = left + share / 2
                ink = INK if name in (BOX, "box_only", "outside_field") else "white"
                axes.text(middle, row, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=10)
                axes.text(middle, row + 0.22, names[name], ha="center", va="top", color=QUIET, fontsize=9)
            left += share
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars], color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(bars) - 0.4, -0.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
