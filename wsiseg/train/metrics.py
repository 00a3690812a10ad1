"""How well predicted nuclei match the truth: sums that add up over images, and the figures from them.

A predicted and a true nucleus match if their intersection over union is above 0.5. At most one nucleus can match
another in that way (Kirillov et al. 2019), so no assignment has to be solved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from wsiseg.train.sums import Sums, share

if TYPE_CHECKING:
    import numpy.typing as npt

    Labels = npt.NDArray[np.integer]
    Pixels = npt.NDArray[np.int64]

MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Detections(Sums):
    """Nuclei found and missed."""

    FIGURES: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall")

    predicted: int = 0
    true: int = 0
    matched: int = 0

    @property
    def precision(self) -> float:
        """Share of the predicted nuclei that match; 1 where none is predicted."""
        return share(self.matched, self.predicted)

    @property
    def recall(self) -> float:
        """Share of the true nuclei that match; 1 where there is none."""
        return share(self.matched, self.true)

    @property
    def f1(self) -> float:
        """Detection F1: 2 matched / (predicted + true)."""
        return share(2 * self.matched, self.predicted + self.true)


@dataclass(frozen=True, slots=True)
class Counts(Detections):
    """Nuclei and pixels of two label images."""

    FIGURES: ClassVar[tuple[str, ...]] = ("dice", "iou", "f1", "precision", "recall", "pq", "aji")

    intersection_px: int = 0
    """Pixels that are nucleus in both."""
    predicted_px: int = 0
    true_px: int = 0
    matched_iou: float = 0.0
    """Sum of the matches' intersection over union."""
    aji_intersection_px: int = 0
    aji_union_px: int = 0

    @property
    def dice(self) -> float:
        """Dice of the foreground, over all pixels counted."""
        return share(2 * self.intersection_px, self.predicted_px + self.true_px)

    @property
    def iou(self) -> float:
        """Intersection over union of the foreground, over all pixels counted."""
        return share(self.intersection_px, self.predicted_px + self.true_px - self.intersection_px)

    @property
    def pq(self) -> float:
        """Panoptic quality: F1 times the matches' mean IoU (Kirillov et al. 2019)."""
        return share(2 * self.matched_iou, self.predicted + self.true)

    @property
    def aji(self) -> float:
        """Aggregated Jaccard index (Kumar et al. 2017)."""
        return share(self.aji_intersection_px, self.aji_union_px)


@dataclass(frozen=True, slots=True)
class OutlineCounts(Sums):
    """True nuclei, each with the predicted nucleus of the highest IoU: what a truth of a few outlines can tell."""

    FIGURES: ClassVar[tuple[str, ...]] = ("recall", "dice", "pooled_dice")

    nuclei: int = 0
    matched: int = 0
    dice_sum: float = 0.0
    """Sum over the nuclei of Dice with the best predicted one; 0 where none overlaps."""
    intersection_px: int = 0
    area_px: int = 0
    """Of the true nuclei and, for each, of the best predicted one."""

    @property
    def recall(self) -> float:
        """Share of the nuclei whose best predicted one has an IoU above 0.5."""
        return share(self.matched, self.nuclei)

    @property
    def dice(self) -> float:
        """Mean over the nuclei of Dice with the best predicted one, 0 for a nucleus that none overlaps."""
        return share(self.dice_sum, self.nuclei)

    @property
    def pooled_dice(self) -> float:
        """Dice of all pairs together: large nuclei weigh more."""
        return share(2 * self.intersection_px, self.area_px)


def counted_part(labels: Labels, ignored: npt.NDArray[np.bool_]) -> Labels:
    """Remove from (h, w) labels each nucleus of which more than half is ignored, and then the ignored pixels."""
    names, ids = np.unique(labels, return_inverse=True)
    ids = ids.reshape(labels.shape)
    area, lost = np.bincount(ids.ravel()), np.bincount(ids[ignored], minlength=len(names))
    return np.where((2 * lost <= area)[ids] & ~ignored, labels, 0)


def compare(truth: Labels, predicted: Labels) -> Counts:
    """Compare two (h, w) label images, 0 = background; the numbers of the labels mean nothing."""
    overlap = _Overlap.of(truth, predicted)
    iou = overlap.iou
    matches = iou > MATCH_IOU
    aji_intersection, aji_union = _aji_sums(overlap)
    return Counts(
        predicted=len(overlap.found_px),
        true=len(overlap.true_px),
        matched=int(matches.sum()),
        intersection_px=int(overlap.shared_px.sum()),
        predicted_px=int(overlap.found_px.sum()),
        true_px=int(overlap.true_px.sum()),
        matched_iou=float(iou[matches].sum()),
        aji_intersection_px=aji_intersection,
        aji_union_px=aji_union,
    )


def compare_outlines(truth: Labels, predicted: Labels) -> OutlineCounts:
    """Compare each true nucleus with the predicted one of the highest IoU, and leave other predicted ones out."""
    overlap = _Overlap.of(truth, predicted)
    row, best = overlap.best_pairs()
    iou = overlap.iou[row, best]
    return OutlineCounts(
        nuclei=len(overlap.true_px),
        matched=int((iou > MATCH_IOU).sum()),
        dice_sum=float((2 * iou / (1 + iou)).sum()),
        intersection_px=int(overlap.shared_px[row, best].sum()),
        area_px=int(overlap.true_px.sum() + overlap.found_px[best].sum()),
    )


def matched_pairs(truth: Labels, predicted: Labels) -> npt.NDArray[np.intp]:
    """Give the (m, 2) nuclei that match, each as its place among the numbers of its label image."""
    return np.argwhere(_Overlap.of(truth, predicted).iou > MATCH_IOU)


@dataclass(frozen=True, slots=True)
class _Overlap:
    """The nuclei of two label images over one another."""

    shared_px: Pixels
    """(true, found): pixels that a true and a found nucleus share."""
    true_px: Pixels
    """(true,) areas."""
    found_px: Pixels

    @classmethod
    def of(cls, truth: Labels, predicted: Labels) -> _Overlap:
        true_names, true_ids = np.unique(truth, return_inverse=True)
        found_names, found_ids = np.unique(predicted, return_inverse=True)
        shape = len(true_names), len(found_names)
        pairs = true_ids.ravel() * shape[1] + found_ids.ravel()
        table = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
        # Names are sorted, so the background comes first where there is any.
        rows, columns = int(true_names[0] == 0), int(found_names[0] == 0)
        return cls(table[rows:, columns:], table.sum(1)[rows:], table.sum(0)[columns:])

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        return self.shared_px / self._union_px

    @property
    def _union_px(self) -> Pixels:
        return self.true_px[:, None] + self.found_px - self.shared_px

    def best_pairs(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Give the true nuclei that are touched at all, and for each the found nucleus of the highest IoU."""
        if not self.shared_px.size:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        best = self.iou.argmax(1)
        touched = np.flatnonzero(self.shared_px[np.arange(len(best)), best])
        return touched, best[touched]

    def union_of(self, row: npt.NDArray[np.intp], column: npt.NDArray[np.intp]) -> int:
        """Add up the unions of pairs."""
        return int(self._union_px[row, column].sum())


def _aji_sums(overlap: _Overlap) -> tuple[int, int]:
    """Pair each true nucleus with its best predicted one; what is left on either side adds to the union."""
    row, best = overlap.best_pairs()
    lonely = np.delete(overlap.true_px, row).sum() + np.delete(overlap.found_px, np.unique(best)).sum()
    return int(overlap.shared_px[row, best].sum()), overlap.union_of(row, best) + int(lonely)
