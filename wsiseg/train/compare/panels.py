"""Labelled fields as pictures: the image, its truth, and what each model makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.patches import Patch

from wsiseg.train.figures import INK, QUIET, as_png, new_figure, painted, show_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from wsiseg.train.figures import Mask, Rgb

FOUND, MISSED, INVENTED, TRUTH = (0, 158, 115), (213, 94, 0), (0, 114, 178), (60, 64, 72)
"""Okabe and Ito's green, orange and blue, and a dark grey: no hue of H&E, distinct without full colour vision."""
_CELL_IN = 2.3
_SIDE_PX = 512
"""Larger fields are cut to their middle, so that nuclei stay visible."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One model's prediction of a field."""

    mask: Mask
    """(h, w): where it sees nuclei."""
    iou: float


@dataclass(frozen=True, slots=True)
class PanelRow:
    """One field."""

    title: str
    rgb: Rgb
    """(h, w, 3)."""
    truth: Mask
    """(h, w): where nuclei are."""
    counted: Mask
    """(h, w): where the truth is to be trusted."""
    guesses: tuple[Guess, ...]


def draw_panels(rows: Sequence[PanelRow], models: Sequence[str]) -> bytes:
    """Draw one row a field: image, truth, and each model's nuclei, coloured by whether they are right. As PNG."""
    columns = 2 + len(models)
    figure = new_figure(_CELL_IN * columns, 0.6 + sum(_CELL_IN * _height(row) + 0.24 for row in rows))
    grid = figure.subplots(
        len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": [_height(row) for row in rows]}
    )
    for row, cells in zip(rows, grid, strict=True):
        _draw_row(cells, row)
    for axes, title in zip(grid[0], ("image", "truth", *models), strict=True):
        axes.set_title(title, fontsize=10, fontweight="bold", color=INK)
    _legend(figure, hidden=any(not row.counted.all() for row in rows))
    return as_png(figure)


def _draw_row(cells: Sequence[Axes], row: PanelRow) -> None:
    pictures = [row.rgb, painted(row.rgb, row.counted, {TRUTH: row.truth})]
    captions = [row.title, ""]
    for guess in row.guesses:
        pictures.append(painted(row.rgb, row.counted, agreement(row.truth, guess.mask)))
        captions.append(f"IoU {guess.iou:.2f}")
    for axes, picture, caption in zip(cells, pictures, captions, strict=True):
        show_picture(axes, _middle(picture), caption)


def _legend(figure: Figure, *, hidden: bool) -> None:
    meanings = [(TRUTH, "nucleus in the truth"), (FOUND, "found"), (MISSED, "missed"), (INVENTED, "invented")]
    handles = [Patch(color="#{:02x}{:02x}{:02x}".format(*colour), label=label) for colour, label in meanings]
    if hidden:
        handles.append(Patch(facecolor="white", edgecolor=QUIET, linewidth=0.8, label="not counted"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9, labelcolor=INK,
        handlelength=1.2, columnspacing=1.8,
    )  # fmt: skip


def agreement(truth: Mask, predicted: Mask) -> dict[tuple[int, int, int], Mask]:
    """Sort pixels by whether a prediction is right, by the colour that shows it."""
    return {FOUND: truth & predicted, MISSED: truth & ~predicted, INVENTED: predicted & ~truth}


def _middle(image: Rgb) -> Rgb:
    top, left = (max(side - _SIDE_PX, 0) // 2 for side in image.shape[:2])
    return image[top : top + _SIDE_PX, left : left + _SIDE_PX]


def _height(row: PanelRow) -> float:
    """Height of a field's pictures beside their width."""
    height, width = _middle(row.rgb).shape[:2]
    return float(height / width)
