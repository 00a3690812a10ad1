"""The network of a bundle with several classes: a U-Net for the outlines, and a smaller network for the types.

What a nucleus is shows at a coarser resolution than where it ends, so the second network looks at the same pixels
shrunk. It shares nothing with the first: types can be learned on outlines that are already good and leave them
as they are, to the last bit. An encoder with a feature pyramid (Lin et al. 2017) down to a quarter of its
resolution; no full-size decoder, which is where a U-Net spends its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional

from wsiseg.typemap import CELL_PX, MOST_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_STAGES = 4
"""The encoder's last, at 1/4, 1/8, 1/16 and 1/32 of its resolution."""
_DROPPED = 0.1
"""Share of the channels that a step of the training goes without."""
_SURELY_BACKGROUND = -2.2
"""Logit of 0.1. Where no pixel of a cell is more likely than that to be of a nucleus, no class is given: zeros are
quickly stored."""


class TypesNetwork(nn.Module):
    """(n, 3, h, w) normalised pixels to (n, classes, h / 4, w / 4) logits.

    Parameters
    ----------
    encoder
        As smp has them.
    width
        Channels of the pyramid.
    """

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        stages = list(cast("Sequence[int]", encoder.out_channels))[-_STAGES:]
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
        stages = self.encoder(images)[-_STAGES:]
        sides = [lateral(stage) for lateral, stage in zip(self.lateral, stages, strict=True)]
        merged = sides.pop()
        for merge in reversed(self.merge):
            side = sides.pop()
            merged = merge(torch.relu(functional.interpolate(merged, size=side.shape[-2:]) + side))
        logits: Tensor = self.classes(self.dropped(merged))
        return logits


class TypedNetwork(nn.Module):
    """(n, 3, h, w) normalised pixels to (n, channels + 1, h, w): the outlines' logits, and types in one plane.

    The plane holds probabilities already, as `wsiseg.typemap` lays them out: they are computed where there are a
    sixteenth of the pixels.

    Parameters
    ----------
    outlines
        (n, 3, h, w) to (n, channels, h, w); the first channel is the foreground's logit.
    types
        What sees the pixels shrunk by `shrink`.
    """

    def __init__(self, outlines: nn.Module, types: TypesNetwork, shrink: int) -> None:
        super().__init__()
        self.outlines = outlines
        self.types = types
        self._shrink = shrink

    def forward(self, images: Tensor) -> Tensor:
        """Give what both networks say."""
        outlines = self.outlines(images).contiguous()
        # By whole factors that is the mean of the pixels around a point, and faster than avg_pool2d.
        shrunk = functional.interpolate(images, scale_factor=1 / self._shrink, mode="bilinear")
        size = images.shape[-2] // CELL_PX, images.shape[-1] // CELL_PX
        cells = functional.interpolate(self.types(shrunk).softmax(1), size=size, mode="bilinear")
        near_nucleus = functional.max_pool2d(outlines[:, :1], CELL_PX) >= _SURELY_BACKGROUND
        filled = functional.pad(cells * near_nucleus, (0, 0, 0, 0, 0, MOST_CLASSES - cells.shape[1]))
        return torch.cat([outlines, functional.pixel_shuffle(filled, CELL_PX).to(outlines.dtype)], 1)
