"""The `semantic` head: a softmax over background and nucleus, as in the thesis; nuclei are what is connected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.models.heads.components import Components, Foreground, Sizes, numbered
from wsiseg.models.heads.growth import level_of
from wsiseg.models.heads.losses import focal_loss, jaccard_loss
from wsiseg.models.heads.settings import limited, read_settings

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from wsiseg.geometry import Box
    from wsiseg.labels import Labels
    from wsiseg.models.heads import HeadSpec


@dataclass(frozen=True, slots=True)
class SemanticSettings:
    """Thresholds of the decoding."""

    probability: float = limited(0.5, 0.05, 0.95)
    """From here on a pixel is nucleus."""
    min_area_um2: float = limited(5.0, 0.0, 500.0)
    """Smallest nucleus."""
    max_extent_px: int = limited(120, 8, 512)
    """Longest side of a nucleus' bounding box; what is larger is no nucleus."""


class SemanticHead:
    """Background or nucleus for each pixel; touching nuclei stay one."""

    name = "semantic"
    maps = ("probability",)
    channels = 2

    def __init__(self, settings: SemanticSettings, mpp: float) -> None:
        self._threshold = level_of(settings.probability)
        self._min_area_px = settings.min_area_um2 / mpp**2
        self._max_extent_px = settings.max_extent_px
        # A nucleus that touches the block is whole in the window, and one pixel more shows that it ends.
        self.margin_px = self._max_extent_px + 1

    @classmethod
    def from_spec(cls, spec: HeadSpec) -> SemanticHead:
        """Build the head from a bundle's description."""
        if spec.class_count != 1:
            raise ValueError("the semantic head knows one class beside the background")
        return cls(read_settings(SemanticSettings, spec.head_settings), spec.mpp)

    def activate(self, logits: Tensor) -> Tensor:
        """Give the softmax' share of the nucleus."""
        return logits.softmax(1)[:, 1:]

    def targets(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Give the foreground."""
        return (labels > 0).astype(np.float32)[None]

    def loss(self, logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Focal and Jaccard loss over both classes, as in the thesis."""
        import torch

        probabilities = logits.softmax(1)
        truth = torch.cat([1.0 - targets, targets], 1)
        return focal_loss(probabilities, truth, weight) + jaccard_loss(probabilities, truth, weight)

    def decode(self, maps: npt.NDArray[np.uint8], area: Box | None = None) -> Labels:
        """Label the connected parts of the foreground that are neither too small nor too large."""
        foreground = Foreground.of(maps[0], self._threshold, area)
        runs = Components.of(foreground.inside, foreground).runs
        fits = Sizes.of(runs, foreground).within(self._min_area_px, self._max_extent_px)
        return foreground.labels(runs.renamed(numbered(fits)))
