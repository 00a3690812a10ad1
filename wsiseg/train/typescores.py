"""The figures of types: F1 of each class, their mean, the confusion and the calibration, as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg.train.bootstrap import PERCENT, resampled
from wsiseg.train.sums import pooled
from wsiseg.train.types import BINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from wsiseg.train.classes import TrueClasses
    from wsiseg.train.types import TypeCounts

    Numbers = npt.NDArray[np.float64]

FIGURES = ("f1", "precision", "recall")
_DIGITS = 4


def type_figures(
    fields: Sequence[tuple[str, TypeCounts]], classes: TrueClasses, matched_by: str
) -> dict[str, Any] | None:
    """Give the figures of all fields together, with 4 decimals; None where no true class is known.

    Parameters
    ----------
    fields
        (group, counts) of each.
    matched_by
        `distance` or `iou`: what makes a pair.

    Returns
    -------
    matched_by, fields
        How nuclei were paired, and how many fields tell classes.
    classes
        By name, of each class that data and bundle share: numbers predicted, true and matched, F1, precision,
        recall, and their 95 % `intervals` over groups, which are null where there is one group only.
    mean
        `f1`, the mean of these F1, and its interval; null where no class is shared.
    all_classes
        As an entry of `classes`: all nuclei of known class, whatever they are taken for.
    confusion
        `true` and `predicted`, names; `nuclei`, a row for each true class; `missed` of each true class, `invented`
        of each predicted one.
    calibration
        As `_calibration` gives it; null where no paired nucleus has a class that is shared.
    """
    total = pooled(counts for _, counts in fields)
    if not total.confusion[:-1].any():
        return None
    sums = np.array([counts.detections for _, counts in fields], np.float64)
    drawn = resampled([group for group, _ in fields], sums.reshape(len(sums), -1))
    spread = None if drawn is None else _scores(drawn.reshape(-1, *sums[0].shape))
    scores = _scores(total.detections)
    entries = [
        _entry(numbers, scores[place], None if spread is None else spread[:, place])
        for place, numbers in enumerate(total.detections.tolist())
    ]
    shared = [place for place, name in enumerate(classes.predicted) if name in classes.names]
    return {
        "matched_by": matched_by,
        "fields": len(fields),
        "classes": {classes.predicted[place]: entries[place] for place in shared},
        "mean": _mean(scores, spread, shared),
        "all_classes": entries[-1],
        "confusion": {
            "true": list(classes.names),
            "predicted": list(classes.predicted),
            "nuclei": total.confusion[:-1, :-1].tolist(),
            "missed": total.confusion[:-1, -1].tolist(),
            "invented": total.confusion[-1, :-1].tolist(),
        },
        "calibration": _calibration(total.calibration),
    }


def _scores(numbers: npt.NDArray[Any]) -> Numbers:
    """Give (..., 3) F1, precision and recall, 1 of nothing, of (..., 3) nuclei predicted, true and matched."""
    predicted, true, matched = np.moveaxis(numbers, -1, 0)
    parts = np.stack((2 * matched, matched, matched), axis=-1).astype(np.float64)
    wholes = np.stack((predicted + true, predicted, true), axis=-1)
    scores: Numbers = np.divide(parts, wholes, out=np.ones_like(parts), where=wholes > 0)
    return scores


def _entry(numbers: list[int], scores: Numbers, drawn: Numbers | None) -> dict[str, Any]:
    """Give the numbers and figures of one class, with intervals of its (draws, 3) scores."""
    intervals = {name: None if drawn is None else _interval(drawn[:, i]) for i, name in enumerate(FIGURES)}
    return {
        **dict(zip(("predicted", "true", "matched"), numbers, strict=True)),
        **dict(zip(FIGURES, _rounded(scores), strict=True)),
        "intervals": intervals,
    }


def _mean(scores: Numbers, drawn: Numbers | None, shared: list[int]) -> dict[str, Any] | None:
    """Give the mean F1 of the classes that are shared."""
    if not shared:
        return None
    interval = None if drawn is None else _interval(drawn[:, shared, 0].mean(axis=1))
    return {"f1": _rounded(scores[shared, 0].mean()), "interval": interval}


def _interval(drawn: Numbers) -> list[float]:
    low, high = _rounded(np.percentile(drawn, PERCENT))
    return [low, high]


def _calibration(sums: Numbers) -> dict[str, Any] | None:
    """Give how far the probabilities are true.

    Returns
    -------
    nuclei, right, probability
        Nuclei paired whose class is shared; the share of them taken for the right one; the mean probability that
        their class was given.
    expected_error
        The difference of the last two, without its sign, in each bin, averaged over nuclei (Naeini et al. 2015).
    bins
        `from` and `to` a probability, and the same figures; empty ones are left out.
    """
    nuclei = sums[:, 0].sum()
    if not nuclei:
        return None
    error = np.abs(sums[:, 1] - sums[:, 2]).sum() / nuclei
    ends = [i / BINS for i in range(BINS + 1)]
    bins = zip(ends, ends[1:], sums, strict=False)
    return {
        **_reliability(sums.sum(axis=0)),
        "expected_error": _rounded(error),
        "bins": [{"from": start, "to": end, **_reliability(each)} for start, end, each in bins if each[0]],
    }


def _reliability(sums: Numbers) -> dict[str, Any]:
    nuclei, right, probability = sums
    share = _rounded(right / nuclei)
    return {"nuclei": int(nuclei), "right": share, "probability": _rounded(probability / nuclei)}


def _rounded(values: Any) -> Any:  # noqa: ANN401 - one number or several
    return np.round(values, _DIGITS).tolist()
