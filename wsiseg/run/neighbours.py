"""How close other nuclei are, across the lines between blocks; memory holds the centroids of a few rows of blocks.

What a nucleus gets depends on the centroids within `FAR_UM` alone, so it does not depend on the blocks.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy.typing as npt

    from wsiseg.nuclei import Nuclei
    from wsiseg.run.plan import Layout
    from wsiseg.tiling import Block

    Points = npt.NDArray[np.float64]

NEAR_UM = 50.0
"""Radius in which neighbours are counted: QuPath's "Nearby detection counts" of features smoothed over 50 um."""
FAR_UM = 200.0
"""A nucleus without another one within this distance has no nearest."""


class Neighbourhood:
    """The centroids around the blocks of one run, which ask in order.

    Parameters
    ----------
    blocks
        Those that have been decoded.
    read_centroids
        Gives a decoded block's (n, 2) level-0 centroids.
    """

    def __init__(
        self, layout: Layout, blocks: Collection[Block], read_centroids: Callable[[Block], Points]
    ) -> None:
        self._grid = layout.grid
        self._blocks = blocks
        self._read_centroids = read_centroids
        self._mpp = layout.info.checked_mpp().value
        # A centroid may lie two pixels of the frame beyond the block that owns it.
        side_um = (layout.grid.block_px - 2) * layout.frame.downsample * self._mpp
        self._reach = ceil(FAR_UM / side_um)
        self._held: dict[Block, Points] = {}

    def surround(self, block: Block, nuclei: Nuclei) -> Nuclei:
        """Give the nuclei of a block with their neighbours; blocks must come row by row."""
        own = np.stack([nuclei.centroid_x, nuclei.centroid_y], axis=1)
        others = [self._centroids(one) for one in self._grid.neighbours(block, self._reach) if one in self._blocks]
        self._held = {one: held for one, held in self._held.items() if one.row >= block.row - self._reach}
        if len(own) == 0:
            return nuclei
        far = FAR_UM / self._mpp + 1
        points = np.concatenate(others)
        near = ((points >= own.min(axis=0) - far) & (points <= own.max(axis=0) + far)).all(axis=1)
        count, nearest = neighbours_of(own * self._mpp, points[near] * self._mpp)
        return replace(nuclei, neighbours_50um=count, nearest_um=nearest)

    def _centroids(self, block: Block) -> Points:
        if block not in self._held:
            self._held[block] = self._read_centroids(block)
        return self._held[block]


def neighbours_of(own: Points, points: Points) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Count and find the neighbours of some points among all, themselves included.

    Parameters
    ----------
    own, points
        (n, 2) and (m, 2), um.

    Returns
    -------
    (n,) each: how many other points lie within `NEAR_UM`, and the distance to the nearest of them, um; NaN where
    it is more than `FAR_UM`.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    count = tree.query_ball_point(own, NEAR_UM, return_length=True) - 1
    # The first is the point itself, or another one at the same place.
    nearest = tree.query(own, k=2, distance_upper_bound=np.nextafter(FAR_UM, np.inf))[0][:, 1]
    return count.astype(np.float32), np.where(np.isfinite(nearest), nearest, np.nan).astype(np.float32)
