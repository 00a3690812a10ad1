"""The fields that a model does worst on, as one small picture for its card."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from wsiseg.models.devices import choose_device
from wsiseg.models.network import load_network
from wsiseg.train.data import read_index, read_labels, read_rgb
from wsiseg.train.evaluate import FieldPredictor
from wsiseg.train.figures import INK, new_figure, painted, show_picture
from wsiseg.train.scoring import to_grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.figure import Figure

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.train.data import FieldEntry
    from wsiseg.train.figures import Rgb
    from wsiseg.train.scores import EvaluationResult, FieldScore

    Labels = npt.NDArray[np.int32]

TRUTH, FOUND = (230, 159, 0), (0, 84, 150)
"""Orange and blue, distinct without full colour vision."""
LEAST_NUCLEI = 5
"""In fields of fewer, one nucleus decides the score."""
_CELL_IN = 3.0
_DPI = 100
_QUALITY = 80
_LONGEST_NAME = 24
_SIDE_PX = 400
"""Fields are cut to their middle, so that nuclei stay visible."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """One field in pixels."""

    caption: str
    rgb: Rgb
    truth: Labels
    found: Labels


def draw_failures(
    bundle: ModelBundle, scored: Sequence[tuple[Path, EvaluationResult]], each: int = 2, device: str = "auto"
) -> bytes:
    """Draw the fields of the lowest F1 beside their nuclei, two fields a row, as a JPEG.

    Parameters
    ----------
    scored
        Evaluations of this bundle, each with its data folder. Those of dots have no outlines and are left out.
    each
        Fields of each evaluation.
    """
    predictor = FieldPredictor(load_network(bundle), bundle.spec, str(choose_device(device)))
    failures = [
        _failure(bundle, predictor, entry, score, result.data)
        for data, result in scored
        for entry, score in _worst(data, result, each)
    ]
    if not failures:
        raise ValueError("dots have no outlines to draw")
    return _as_jpeg(_drawn(failures))


def _worst(data: Path, result: EvaluationResult, count: int) -> Iterator[tuple[FieldEntry, FieldScore]]:
    """Give the fields of the lowest F1 that hold some nuclei, the worst first."""
    if result.fields[0].pixels is None:
        return
    entries = read_index(data, result.split)
    least = min(LEAST_NUCLEI, max(field.nuclei.true for field in result.fields))
    many = [pair for pair in zip(entries, result.fields, strict=True) if pair[1].nuclei.true >= least]
    yield from sorted(many, key=lambda pair: pair[1].nuclei.f1)[:count]


def _failure(
    bundle: ModelBundle, predictor: FieldPredictor, entry: FieldEntry, score: FieldScore, data: str
) -> _Failure:
    rgb, truth = read_rgb(entry.image), read_labels(entry.instances)
    found = to_grid(bundle.head().decode(predictor.maps(rgb, entry.mpp)).image(), truth.shape)
    name = entry.image.stem if len(entry.image.stem) <= _LONGEST_NAME else entry.image.stem[:_LONGEST_NAME] + "..."
    nuclei = score.nuclei
    caption = f"{data} {name}: {nuclei.matched} of {nuclei.true} matched, {nuclei.predicted} found"
    return _Failure(caption, *(_middle(pixels) for pixels in (rgb, truth, found)))


def _middle(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    top, left = (max(side - _SIDE_PX, 0) // 2 for side in pixels.shape[:2])
    return pixels[top : top + _SIDE_PX, left : left + _SIDE_PX]


def _drawn(failures: Sequence[_Failure]) -> Figure:
    rows = -(-len(failures) // 2)
    figure = new_figure(4 * _CELL_IN, 0.35 + rows * (_CELL_IN + 0.25))
    cells = figure.subplots(rows, 4, squeeze=False).reshape(-1, 2)
    for (left, right), failure in zip(cells, failures, strict=False):
        show_picture(left, failure.rgb, failure.caption)
        left.xaxis.label.set(horizontalalignment="left", x=0.0)  # it runs on below the outlines
        show_picture(right, compared(failure.rgb, failure.truth, failure.found), "")
    for axes in cells[len(failures) :].ravel():
        axes.set_axis_off()
    handles = [
        Patch(color="#{:02x}{:02x}{:02x}".format(*TRUTH), label="nuclei of the truth"),
        Line2D([], [], color="#{:02x}{:02x}{:02x}".format(*FOUND), linewidth=2, label="outlines found"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def compared(rgb: Rgb, truth: Labels, found: Labels) -> Rgb:
    """Paint the true nuclei on a pale (h, w, 3) image and draw the outlines of those that were found."""
    canvas = painted(rgb, np.ones(truth.shape, np.bool_), {TRUTH: (truth > 0) & ~_borders(truth)})
    outlines = _borders(found)
    outlines[1:] |= outlines[:-1]
    outlines[:, 1:] |= outlines[:, :-1]
    canvas[outlines] = FOUND
    return canvas


def _borders(labels: Labels) -> npt.NDArray[np.bool_]:
    """Mark the pixels of a nucleus that touch another one or the background."""
    padded = np.pad(labels, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    touching: npt.NDArray[np.bool_] = np.any([side != labels for side in around], axis=0)
    return touching & (labels > 0)


def _as_jpeg(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="jpeg", dpi=_DPI, pil_kwargs={"quality": _QUALITY})
    return out.getvalue()
