"""How far a figure may be off because only some patients were looked at: bootstrap intervals over groups.

Fields of one patient resemble each other, so whole patients are drawn, with replacement, and the figures computed
anew from the sums of those drawn (Efron 1979; percentile interval).
"""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    by_group: dict[str, S] = {}
    for group, sums in scored:
        by_group[group] = by_group[group] + sums if group in by_group else sums
    kind = type(next(iter(by_group.values())))
    if len(by_group) < 2:
        return dict.fromkeys(kind.FIGURES)
    drawn = [list(kind(*row).figures().values()) for row in _resampled(by_group)]
    low, high = np.percentile(drawn, PERCENT, axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(kind.FIGURES)}


def _resampled(by_group: dict[str, S]) -> list[list[float]]:
    """Draw as many groups as there are, again and again; give the sums of each draw."""
    # In the order of their names: the same figures whatever the order of the index.
    rows = np.array([_numbers(by_group[group]) for group in sorted(by_group)], np.float64)
    times = np.random.default_rng(SEED).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=DRAWS)
    sums: list[list[float]] = (times @ rows).tolist()
    return sums


def _numbers(sums: Any) -> tuple[float, ...]:  # noqa: ANN401 - any dataclass of numbers
    return astuple(sums)
