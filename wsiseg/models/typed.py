"""The network of a bundle with several classes: a U-Net for the outlines, and a smaller network for the types.

What a nucleus is shows at a coarser resolution than where it ends, so the second network looks at the same pixels
shrunk. It shares nothing with the first: types can be learned on outlines that are already good and leave them
as they are, to the last bit. An encoder with a feature pyramid (Lin et al. 2017) down to a quarter of its
resolution; no full-size decoder, which is where a U-Net spends its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiseg.typemap import CELL_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        What sees the same image, shrunk.
    share
        Of the side of the image that is left for it, at most 1.
    """

    _mean_of_four: Tensor

    def __init__(self, outlines: nn.Module, types: TypesNetwork, share: float) -> None:
        super().__init__()
        self.outlines = outlines
        self.types = types
        # Four digits, so that no rounding of two resolutions costs a row.
        self._halvings, self._rest = _halved(round(share, 4))
        self.register_buffer("_mean_of_four", torch.full((3, 1, 2, 2), 0.25), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Give what both networks say."""
        outlines = self.outlines(images).contiguous()
        types = self.types(self._shrunk(images)).softmax(1)
        size = images.shape[-2] // CELL_PX, images.shape[-1] // CELL_PX
        cells = functional.interpolate(types.float().contiguous(), size=size, mode="bilinear")
        near_nucleus = _highest_of_cells(outlines[:, 0]) >= _SURELY_BACKGROUND
        return torch.cat([outlines, _as_plane(cells * near_nucleus[:, None]).to(outlines.dtype)], 1)

    def _shrunk(self, images: Tensor) -> Tensor:
        """Shrink images to their share, by halves first: a linear filter looks at two pixels a side only."""
        for _ in range(self._halvings):  # as a convolution, in a fifth of the time that interpolate takes
            images = functional.conv2d(images, self._mean_of_four, stride=2, groups=3)
        if self._rest == 1:
            return images
        shrunk = functional.interpolate(images.float(), scale_factor=self._rest, mode="bilinear")
        return shrunk.to(images.dtype)


def _halved(share: float) -> tuple[int, float]:
    """Say how often a side is halved on the way to a share of it, and what share of the last half is left."""
    halvings = 0
    while share <= 0.5:
        halvings, share = halvings + 1, 2 * share
    return halvings, share


def _highest_of_cells(logits: Tensor) -> Tensor:
    """Give the (n, h / 4, w / 4) maxima of the cells of (n, h, w), in a quarter of the time of max_pool2d."""
    n, height, width = logits.shape
    rows = logits.reshape(n, height // CELL_PX, CELL_PX, width).amax(2)
    return rows.reshape(n, height // CELL_PX, width // CELL_PX, CELL_PX).amax(3)


def _as_plane(maps: Tensor) -> Tensor:
    """Lay (n, classes, h, w) maps out as an (n, 1, 4 h, 4 w) plane: pixel_shuffle of those rows that are not 0."""
    n, classes, height, width = maps.shape
    rows = -(-classes // CELL_PX)
    filled = functional.pad(maps, (0, 0, 0, 0, 0, rows * CELL_PX - classes))
    cells = filled.reshape(n, rows, CELL_PX, height, width).permute(0, 3, 1, 4, 2)
    lines = cells.reshape(n, height, rows, width * CELL_PX)
    return functional.pad(lines, (0, 0, 0, CELL_PX - rows)).reshape(n, 1, height * CELL_PX, width * CELL_PX)
