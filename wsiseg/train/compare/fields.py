"""Which fields are shown, and what each model sees in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsiseg.models.devices import choose_device
from wsiseg.models.network import load_network
from wsiseg.train.compare.panels import Guess, PanelRow
from wsiseg.train.data import COUNTED, read_ignore, read_index, read_labels, read_rgb
from wsiseg.train.evaluate import FieldPredictor
from wsiseg.train.scoring import to_grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.train.data import FieldEntry
    from wsiseg.train.scores import EvaluationResult

SHOWN = 5
_HALF = 128
"""The lowest 8-bit value of a probability of at least 0.5."""


def chosen_fields(scored: Sequence[EvaluationResult]) -> list[tuple[int, int]]:
    """Rank fields by the mean IoU of all models; take some at even distances, the worst and the best among them.

    Parameters
    ----------
    scored
        One evaluation a model, all of the same fields.

    Returns
    -------
    (rank from 1, index) of each field, the worst first.
    """
    iou = np.array([[field.pixels.iou for field in result.fields if field.pixels] for result in scored]).mean(0)
    ranks = np.unique(np.linspace(0, len(iou) - 1, SHOWN).round().astype(int))
    order = np.argsort(iou, kind="stable")
    return [(int(rank) + 1, int(order[rank])) for rank in ranks]


def panel_rows(
    bundles: Sequence[ModelBundle],
    scored: Sequence[EvaluationResult],
    data: Path,
    chosen: Sequence[tuple[int, int]],
    device: str,
) -> list[PanelRow]:
    """Give image, truth and the prediction of each bundle for fields that `chosen_fields` gave."""
    everything = read_index(data, scored[0].split)
    entries = [everything[index] for _, index in chosen]
    masks = [_predicted(bundle, entries, str(choose_device(device))) for bundle in bundles]
    rows = []
    for place, (entry, (rank, index)) in enumerate(zip(entries, chosen, strict=True)):
        truth = read_labels(entry.instances)
        guesses = tuple(
            Guess(each[place], result.fields[index].pixels.iou)  # type: ignore[union-attr]
            for each, result in zip(masks, scored, strict=True)
        )
        counted = read_ignore(entry, truth.shape) == COUNTED
        title = f"field {rank} of {len(everything)}"
        rows.append(PanelRow(title, read_rgb(entry.image), truth > 0, counted, guesses))
    return rows


def _predicted(bundle: ModelBundle, entries: Sequence[FieldEntry], device: str) -> list[npt.NDArray[np.bool_]]:
    """Give the pixels that are nucleus with a probability of at least 0.5, on each field's own grid."""
    predictor = FieldPredictor(load_network(bundle), bundle.spec, device)
    masks = []
    for entry in entries:
        rgb = read_rgb(entry.image)
        probability = to_grid(predictor.maps(rgb, entry.mpp)[0], rgb.shape[:2])
        masks.append(probability >= _HALF)
    return masks
