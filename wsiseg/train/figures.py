"""What all figures share: colours, axes, pictures of fields, and bytes that are the same each time."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from matplotlib.axes import Axes

    Rgb = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

INK, QUIET, LINE = "#23262b", "#5d636d", "#dedfdb"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which people without full colour vision can tell apart; taken in turn."""
DPI = 150
_PAINT = 0.72
"""Opacity of the colours on a picture."""


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


def plain(axes: Axes, title: str = "") -> None:
    """Give axes a title and a quiet frame and grid."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=9, length=3)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def show_picture(axes: Axes, picture: Rgb, caption: str) -> None:
    """Show pixels with a line of text below them, and nothing else."""
    axes.imshow(picture, interpolation="lanczos")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(caption, fontsize=8.5, color=QUIET, labelpad=3)


def painted(rgb: Rgb, counted: Mask, paint: Mapping[tuple[int, int, int], Mask]) -> Rgb:
    """Make an (h, w, 3) image pale and grey and paint masks on it; what does not count stays almost white."""
    grey = rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    canvas = np.repeat((255 - 0.6 * (255 - grey))[..., None], 3, axis=2)
    for colour, mask in paint.items():
        canvas[mask] = (1 - _PAINT) * canvas[mask] + _PAINT * np.array(colour, np.float32)
    canvas[~counted] = 255 - 0.15 * (255 - grey[~counted, None])
    return np.rint(canvas).astype(np.uint8)
