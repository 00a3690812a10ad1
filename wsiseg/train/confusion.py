"""Pixel figures of two classes, background and nucleus, as the thesis' library and Keras define them.

The thesis' table rests on them; its library computes a score per batch, with a little added to either side of each
fraction, and averages the two classes, the background included. So they look better than the Dice and IoU of the
nuclei alone: most pixels are background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from wsiseg.train.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

SMOOTH = 1e-5
"""Added to numerator and denominator by the thesis' library."""


@dataclass(frozen=True, slots=True)
class Confusion(Sums):
    """Pixels by what they are and what they are taken for; of one image, a batch or a whole set."""

    FIGURES: ClassVar[tuple[str, ...]] = ("iou", "fscore", "keras_mean_iou")

    nucleus: int = 0
    """Nucleus in both."""
    invented: int = 0
    """Nucleus in the prediction only."""
    missed: int = 0
    """Nucleus in the truth only."""
    background: int = 0
    """Background in both."""

    @classmethod
    def of(
        cls, truth: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]
    ) -> Confusion:
        """Compare two masks where a third is set; all of one shape."""
        code = 2 * truth[counted].astype(np.intp) + predicted[counted]
        background, invented, missed, nucleus = np.bincount(code, minlength=4).tolist()
        return cls(nucleus, invented, missed, background)

    @property
    def iou(self) -> float:
        """IoU as the thesis' library has it: (intersection + 1e-5) / (union + 1e-5), mean of both classes."""
        wrong = self.invented + self.missed + SMOOTH
        return _mean((right + SMOOTH) / (right + wrong) for right in (self.nucleus, self.background))

    @property
    def fscore(self) -> float:
        """F-score as the thesis' library has it: (2 tp + 1e-5) / (2 tp + fn + fp + 1e-5), mean of both classes."""
        wrong = self.invented + self.missed + SMOOTH
        return _mean((2 * right + SMOOTH) / (2 * right + wrong) for right in (self.nucleus, self.background))

    @property
    def keras_mean_iou(self) -> float:
        """Mean IoU as Keras has it: mean over the classes that occur in truth or prediction; 1 without pixels."""
        wrong = self.invented + self.missed
        return _mean(right / (right + wrong) for right in (self.nucleus, self.background) if right + wrong)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 1.0
