"""Counts and distributions over the nuclei of a run, gathered block by block in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.nuclei import Nuclei
    from wsiseg.tiling import TileGrid

BIN_UM2 = 0.25
"""Resolution of the area distribution, and so of its percentiles."""
LARGEST_UM2 = 2000.0
"""Areas beyond are counted in the last bin; the head drops objects far smaller than this."""


class Tally:
    """What the summary, the overview and the report need to know of all nuclei."""

    def __init__(self, grid: TileGrid) -> None:
        self.count = 0
        self.per_tile = np.zeros(grid.shape, np.int32)
        """(rows, columns) of the grid: nuclei anchored in each tile."""
        self._grid = grid
        self._probability = np.zeros(grid.shape, np.float64)
        self._area_sum = 0.0
        self._area_bins = np.zeros(int(LARGEST_UM2 / BIN_UM2), np.int64)

    def add(self, nuclei: Nuclei) -> None:
        """Take in the nuclei of one block."""
        self.count += len(nuclei)
        columns, rows = (nuclei.anchor // self._grid.tile_px).T
        np.add.at(self.per_tile, (rows, columns), 1)
        np.add.at(self._probability, (rows, columns), nuclei.probability)
        bins = np.minimum(nuclei.area_um2 / BIN_UM2, len(self._area_bins) - 1).astype(np.int64)
        self._area_bins += np.bincount(bins, minlength=len(self._area_bins))
        self._area_sum += float(nuclei.area_um2.sum(dtype=np.float64))

    def mean_probability(self) -> npt.NDArray[np.float64]:
        """Give (rows, columns): the mean probability of each tile's nuclei, NaN where it has none."""
        with np.errstate(invalid="ignore"):
            mean: npt.NDArray[np.float64] = self._probability / self.per_tile
        return mean

    def area(self) -> dict[str, Any]:
        """Give the distribution of nuclear areas in um2, for the summary; None where there are no nuclei."""
        if self.count == 0:
            none = dict.fromkeys(("median", "mean", "p05", "p95"))
            return {**none, "histogram": {"edges": [], "counts": []}}
        widest = max(self._percentile(99), 10.0)
        per_bin = max(round(widest / 40 / BIN_UM2), 1)  # about 40 bars that hold 99 % of the nuclei
        used = self._area_bins[: 40 * per_bin]
        bars = np.add.reduceat(used, np.arange(0, len(used), per_bin))
        edges = np.arange(len(bars) + 1) * per_bin * BIN_UM2
        return {
            "median": self._percentile(50),
            "mean": round(self._area_sum / self.count, 3),
            "p05": self._percentile(5),
            "p95": self._percentile(95),
            "histogram": {"edges": edges.tolist(), "counts": bars.tolist()},
        }

    def _percentile(self, percent: float) -> float:
        """The middle of the bin in which that share of the nuclei is reached."""
        reached = np.cumsum(self._area_bins) >= self.count * percent / 100
        return float((int(np.argmax(reached)) + 0.5) * BIN_UM2)
