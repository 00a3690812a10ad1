"""How well predicted nuclei match the truth: counts that add up over images, and the figures from them.

A predicted and a true nucleus match if their intersection over union is above 0.5. At most one nucleus can match
another in that way (Kirillov et al. 2019), so no assignment has to be solved.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """What one image, or many, adds to the figures. Counts of several images are added."""

    images: int = 0
    intersection_px: int = 0
    """Pixels that are nucleus in both."""
    predicted_px: int = 0
    true_px: int = 0
    predicted: int = 0
    """Nuclei."""
    true: int = 0
    matched: int = 0
    matched_iou: float = 0.0
    """Sum of the matches' intersection over union."""
    aji_intersection_px: int = 0
    aji_union_px: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def dice(self) -> float:
        """Dice of the foreground, over all pixels counted; 1 where there is nothing to find and nothing found."""
        return _share(2 * self.intersection_px, self.predicted_px + self.true_px)

    @property
    def precision(self) -> float:
        """Share of the predicted nuclei that match."""
        return _share(self.matched, self.predicted)

    @property
    def recall(self) -> float:
        """Share of the true nuclei that match."""
        return _share(self.matched, self.true)

    @property
    def f1(self) -> float:
        """Detection F1 at IoU 0.5."""
        return _share(2 * self.matched, self.predicted + self.true)

    @property
    def pq(self) -> float:
        """Panoptic quality: F1 times the matches' mean IoU (Kirillov et al. 2019)."""
        return _share(2 * self.matched_iou, self.predicted + self.true)

    @property
    def aji(self) -> float:
        """Aggregated Jaccard index (Kumar et al. 2017)."""
        return _share(self.aji_intersection_px, self.aji_union_px)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def compare(truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> Counts:
    """Compare two (h, w) label images, 0 = background; the numbers of the labels mean nothing."""
    true_names, true_ids = np.unique(truth, return_inverse=True)
    found_names, found_ids = np.unique(predicted, return_inverse=True)
    table = np.zeros((len(true_names), len(found_names)), np.int64)
    np.add.at(table, (true_ids.ravel(), found_ids.ravel()), 1)
    true_area, found_area = table.sum(1), table.sum(0)
    # Rows and columns of nuclei; names are sorted, so the background comes first where there is any.
    rows, columns = int(true_names[0] == 0), int(found_names[0] == 0)
    shared, true_area, found_area = table[rows:, columns:], true_area[rows:], found_area[columns:]
    iou = shared / (true_area[:, None] + found_area[None] - shared)
    matches = iou > MATCH_IOU
    aji_intersection, aji_union = _aji_sums(shared, true_area, found_area)
    return Counts(
        images=1,
        intersection_px=int(shared.sum()),
        predicted_px=int(found_area.sum()),
        true_px=int(true_area.sum()),
        predicted=len(found_area),
        true=len(true_area),
        matched=int(matches.sum()),
        matched_iou=float(iou[matches].sum()),
        aji_intersection_px=aji_intersection,
        aji_union_px=aji_union,
    )


def _aji_sums(
    shared: npt.NDArray[np.int64], true_area: npt.NDArray[np.int64], found_area: npt.NDArray[np.int64]
) -> tuple[int, int]:
    """Pair each true nucleus with its best predicted one; what is left on either side adds to the union."""
    if not shared.size:
        return 0, int(true_area.sum() + found_area.sum())
    union = true_area[:, None] + found_area[None] - shared
    best = (shared / union).argmax(1)
    row = np.arange(len(true_area))
    hit = shared[row, best] > 0
    paired = row[hit], best[hit]
    lonely = int(true_area[~hit].sum() + np.delete(found_area, np.unique(best[hit])).sum())
    return int(shared[paired].sum()), int(union[paired].sum()) + lonely
