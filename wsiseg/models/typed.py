"""The network of a bundle with several classes: a U-Net for the outlines, and a smaller network for the types.

What a nucleus is shows at a coarser resolution than where it ends, so the second network looks at the same pixels
shrunk. It shares nothing with the first: types can be learned on outlines that are already good and leave them
as they are, to the last bit. An encoder with a feature pyramid (Lin et al. 2017) down to a quarter of its
resolution; no full-size decoder, which is where a U-Net spends its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional

from wsiseg.models.encoders import smp_name
from wsiseg.models.heads.types import as_plane
from wsiseg.typemap import CELL_PX

if TYPE_CHECKING:
    from torch import Tensor

    from wsiseg.models.bundle import TypesSpec

_FINEST = 2
"""Index of the encoder's stage at a quarter of its resolution, the finest that is used."""
_DROPPED = 0.1
"""Share of the channels that a step of the training goes without."""


class TypesNetwork(nn.Module):
    """(n, 3, h, w) normalised pixels to (n, classes, h / 4, w / 4) logits."""

    def __init__(self, spec: TypesSpec, classes: int) -> None:
        super().__init__()
        self.encoder: nn.Module = smp.encoders.get_encoder(smp_name(spec.encoder), weights=None)
        stages: list[int] = list(self.encoder.out_channels)[_FINEST:]
        width = spec.channels
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, width, 1, bias=False), nn.BatchNorm2d(width)) for n in stages
        )
        self.merge = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in stages[1:]
        )
        self.dropped = nn.Dropout2d(_DROPPED)
        self.classes = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits of each class."""
        sides = [
            lateral(stage) for lateral, stage in zip(self.lateral, self.encoder(images)[_FINEST:], strict=True)
        ]
        merged = sides.pop()
        for merge in reversed(self.merge):
            side = sides.pop()
            merged = merge(torch.relu(functional.interpolate(merged, size=side.shape[-2:]) + side))
        logits: Tensor = self.classes(self.dropped(merged))
        return logits


class TypedNetwork(nn.Module):
    """(n, 3, h, w) normalised pixels to (n, channels + 1, h, w) logits: of outlines, and of types in one plane.

    Parameters
    ----------
    outlines
        (n, 3, h, w) to (n, channels, h, w).
    types
        What sees the pixels shrunk by `shrink`.
    """

    def __init__(self, outlines: nn.Module, types: TypesNetwork, shrink: int) -> None:
        super().__init__()
        self.outlines = outlines
        self.types = types
        self._shrink = shrink

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits of both networks."""
        types = self.types(functional.avg_pool2d(images, self._shrink))
        size = images.shape[-2] // CELL_PX, images.shape[-1] // CELL_PX
        cells = functional.interpolate(types, size=size, mode="bilinear")
        return torch.cat([self.outlines(images), as_plane(cells)], 1)
