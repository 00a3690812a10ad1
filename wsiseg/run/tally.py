"""Counts and distributions over the nuclei of a run, gathered block by block in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg.run.classes import ClassTally

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei
    from wsiseg.tiling import TileGrid

_BARS = 40
"""Of a histogram."""


class Distribution:
    """How often which value occurs, counted as the values come.

    Parameters
    ----------
    step
        Resolution of the counts, and so of the percentiles.
    largest
        Values from here on are counted as the largest.
    shown
        The histogram reaches at least so far, and beyond to where 99 % of the values lie.
    """

    def __init__(self, step: float, largest: float, shown: float) -> None:
        self._step = step
        self._shown = shown
        self._bins = np.zeros(round(largest / step), np.int64)
        self._count = 0
        self._sum = 0.0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Take in values of 0 or more."""
        bins = np.minimum(values / self._step, len(self._bins) - 1).astype(np.int64)
        self._bins += np.bincount(bins, minlength=len(self._bins))
        self._count += len(values)
        self._sum += float(values.sum(dtype=np.float64))

    def summary(self) -> dict[str, Any]:
        """Give median, mean, 5th and 95th percentile and a histogram, as JSON values; None of no values."""
        if self._count == 0:
            none = dict.fromkeys(("median", "mean", "p05", "p95"))
            return {**none, "histogram": {"edges": [], "counts": []}}
        widest = max(self._percentile(99), self._shown)
        per_bar = max(round(widest / _BARS / self._step), 1)
        used = self._bins[: _BARS * per_bar]
        bars = np.add.reduceat(used, np.arange(0, len(used), per_bar))
        edges = np.arange(len(bars) + 1) * per_bar * self._step
        return {
            "median": self._percentile(50),
            "mean": round(self._sum / self._count, 3),
            "p05": self._percentile(5),
            "p95": self._percentile(95),
            "histogram": {"edges": edges.round(6).tolist(), "counts": bars.tolist()},
        }

    def _percentile(self, percent: float) -> float:
        """The middle of the bin in which that share of the values is reached."""
        reached = np.cumsum(self._bins) >= self._count * percent / 100
        return round((int(np.argmax(reached)) + 0.5) * self._step, 6)


class Tally:
    """What the summary, the overview and the report need to know of all nuclei."""

    def __init__(self, grid: TileGrid, classes: Sequence[ClassSpec]) -> None:
        self.count = 0
        self.classes = ClassTally(classes)
        self.per_tile = np.zeros(grid.shape, np.int32)
        """(rows, columns) of the grid: nuclei anchored in each tile."""
        self._grid = grid
        self.probability = np.zeros(grid.shape, np.float64)
        """(rows, columns): the sum of their probabilities."""
        # No nucleus is as large as 2000 um2. Shares of one are shown whole.
        self._distributions = {"area_um2": Distribution(0.25, 2000, shown=10)} | {
            name: Distribution(0.005, 1, shown=1) for name in ("circularity", "eccentricity", "probability")
        }

    def add(self, nuclei: Nuclei) -> None:
        """Take in the nuclei of one block."""
        self.count += len(nuclei)
        self.classes.add(nuclei)
        columns, rows = (nuclei.anchor // self._grid.tile_px).T
        np.add.at(self.per_tile, (rows, columns), 1)
        np.add.at(self.probability, (rows, columns), nuclei.probability)
        for name, distribution in self._distributions.items():
            distribution.add(getattr(nuclei, name))

    def distributions(self) -> dict[str, dict[str, Any]]:
        """Give the distribution of area, shape and probability for the summary, by the column's name."""
        return {name: one.summary() for name, one in self._distributions.items()}
