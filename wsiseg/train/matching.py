"""Pairs of points that are one nucleus: as many as there can be within a reach, and of those the nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    import numpy.typing as npt

    Points = npt.NDArray[np.float64]


def match_points(ones: Points, others: Points, reach: float) -> npt.NDArray[np.intp]:
    """Pair (n, 2) points with (k, 2) others, each with one at most and none beyond the reach.

    No other pairing has more pairs, and none of as many has a smaller sum of distances. A greedy one, which takes
    for each point in turn the nearest that is left, can take away a neighbour's only partner.

    Returns
    -------
    (m, 2): places of the pairs among the ones and the others, by the first.
    """
    n, k = len(ones), len(others)
    if n == 0 or k == 0:
        return np.empty((0, 2), np.intp)
    near = cKDTree(ones).sparse_distance_matrix(cKDTree(others), reach, output_type="ndarray")
    # Each point may take a stand-in of its own, at more than all pairs together cost: so all find somebody. What
    # costs nothing would be no edge, hence 1 + distance.
    weights = np.append(1 + near["v"] / reach, np.full(n, 2.0 * n + 2))
    rows, columns = np.append(near["i"], np.arange(n)), np.append(near["j"], k + np.arange(n))
    graph = coo_array((weights, (rows, columns)), shape=(n, k + n)).tocsr()
    pairs = np.stack(min_weight_full_bipartite_matching(graph), axis=1)
    return np.asarray(pairs[pairs[:, 1] < k], np.intp)
