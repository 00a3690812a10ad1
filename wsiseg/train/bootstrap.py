"""How far a figure may be off because only some patients were looked at: bootstrap intervals over groups.

Fields of one patient resemble each other, so whole patients are drawn, with replacement, and the figures computed
anew from the sums of those drawn (Efron 1979; percentile interval).
"""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from wsiseg.train.sums import Sums

S = TypeVar("S", bound="Sums")

DRAWS = 1000
SEED = 0
PERCENT = 2.5, 97.5


def intervals(scored: Iterable[tuple[str, S]]) -> dict[str, tuple[float, float] | None]:
    """Give the 95 % interval of each pooled figure.

    Parameters
    ----------
    scored
        (group, sums) of each image, in any order.

    Returns
    -------
    (low, high) by figure; None for each where all images are of one group, which says nothing about others.
    """
    groups, sums = zip(*scored, strict=True)
    kind = type(sums[0])
    drawn = resampled(groups, np.array([_numbers(each) for each in sums], np.float64))
    if drawn is None:
        return dict.fromkeys(kind.FIGURES)
    low, high = np.percentile([list(kind(*row).figures().values()) for row in drawn.tolist()], PERCENT, axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(kind.FIGURES)}


def resampled(groups: Sequence[str], rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Draw as many groups as there are, again and again, and add up what is drawn.

    Parameters
    ----------
    rows
        (images, k): sums of each image, which belongs to the group at its place.

    Returns
    -------
    (`DRAWS`, k) sums of each draw; None where all images are of one group.
    """
    # In the order of their names: the same figures whatever the order of the index.
    names, group_of = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    by_group = np.zeros((len(names), rows.shape[1]))
    np.add.at(by_group, group_of, rows)
    times = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    sums: npt.NDArray[np.float64] = times @ by_group
    return sums


def _numbers(sums: Any) -> tuple[float, ...]:  # noqa: ANN401 - any dataclass of numbers
    return astuple(sums)
