"""The `nuclei` head: a probability, a core that rises from 0 at a nucleus' border to 1 in its middle, and types.

The core is the distance to the border divided by the nucleus' own largest distance, so it looks the same in a
small dark lymphocyte and in a large pale tumour nucleus: one threshold finds one seed in both. The loss learns
both maps; `wsiseg.models.heads.growth` turns them into one label per nucleus. A bundle of several classes has a
third map, of `wsiseg.typemap`: it says what a nucleus is, and nothing of where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.models.heads.growth import Growth
from wsiseg.models.heads.losses import soft_dice_loss, weighted_mean
from wsiseg.typemap import CELL_PX

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from wsiseg.geometry import Box
    from wsiseg.labels import Labels
    from wsiseg.models.heads import HeadSpec

_OUTLINES = "probability", "core"
"""The maps that say where nuclei are."""
_CORE_WEIGHT = 2.0
"""Share of the core in the loss; its smooth L1 is an order smaller than cross-entropy and Dice."""
_CORE_INSIDE = 4.0
"""Weight of pixels inside nuclei, above 1 outside: there the core has its shape."""
_CORE_BETA = 0.1
"""Below this error smooth L1 is quadratic: steps of the target from pixel to pixel are about as large."""


class NucleiHead:
    """Probability and core, and types where there are; touching nuclei are separated by growing seeds."""

    name = "nuclei"

    def __init__(self, growth: Growth, classes: int = 1) -> None:
        self._growth = growth
        self.maps: tuple[str, ...] = _OUTLINES
        self.margin_px = growth.margin_px
        if classes > 1:
            self.maps = (*_OUTLINES, "types")
            self.margin_px += -growth.margin_px % CELL_PX  # a window begins where a cell does
        self.channels = len(self.maps)

    @classmethod
    def from_spec(cls, spec: HeadSpec) -> NucleiHead:
        """Build the head from a bundle's description."""
        return cls(Growth(spec.head_settings, spec.mpp), spec.class_count)

    def activate(self, logits: Tensor) -> Tensor:
        """Squash the outlines' channels to [0, 1]; types are that already."""
        import torch

        if self.channels == len(_OUTLINES):
            return logits.sigmoid()
        outlines, types = logits[:, : len(_OUTLINES)], logits[:, len(_OUTLINES) :]
        return torch.cat([outlines.sigmoid(), types], 1)

    def targets(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Give the foreground and the core of each nucleus: the types are learned by themselves."""
        return np.stack([(labels > 0).astype(np.float32), core_of(labels)])

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Cross-entropy and Dice on the probability, smooth L1 on the core."""
        from torch.nn import functional

        probability, core = targets[:, :1], targets[:, 1:]
        entropy = functional.binary_cross_entropy_with_logits(logits[:, :1], probability, reduction="none")
        dice = soft_dice_loss(logits[:, :1].sigmoid(), probability, weight)
        error = functional.smooth_l1_loss(logits[:, 1:2].sigmoid(), core, reduction="none", beta=_CORE_BETA)
        shaped = weighted_mean(error, weight * (1.0 + (_CORE_INSIDE - 1.0) * probability))
        return weighted_mean(entropy, weight) + dice + _CORE_WEIGHT * shaped

    def decode(self, maps: npt.NDArray[np.uint8], area: Box | None = None) -> Labels:
        """Separate the nuclei of (maps, h, w) maps."""
        return self._growth.labels(maps[0], maps[1], area)


def core_of(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Give each nucleus' distance to its border, divided by its own maximum.

    The border towards a touching nucleus counts like the border towards the background. The image's edge does
    not count: a nucleus that it cuts keeps its middle there.
    """
    ids = np.ascontiguousarray(labels, np.int32)
    inside = (ids > 0) & ~_touches_another(ids)
    if not inside.any():
        return np.zeros(ids.shape, np.float32)
    # One pixel of border is added so that the innermost pixel row of a contact counts as distance 1, like
    # the outermost pixel row towards the background does.
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    highest = np.zeros(int(ids.max()) + 1, np.float32)
    np.maximum.at(highest, ids.ravel(), distance.ravel())
    core: npt.NDArray[np.float32] = distance / np.maximum(highest, 1.0)[ids]
    return core


def _touches_another(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Mark pixels whose right, left, lower or upper neighbour belongs to another nucleus."""
    contact = np.zeros(ids.shape, np.bool_)
    beside = (ids[:, 1:] != ids[:, :-1]) & (ids[:, 1:] > 0) & (ids[:, :-1] > 0)
    below = (ids[1:] != ids[:-1]) & (ids[1:] > 0) & (ids[:-1] > 0)
    contact[:, 1:] |= beside
    contact[:, :-1] |= beside
    contact[1:] |= below
    contact[:-1] |= below
    return contact
