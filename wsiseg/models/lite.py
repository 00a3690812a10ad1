"""The U-Net on EfficientNet-Lite, for inference, of torch alone: the network of the shipped bundles.

smp builds the same one, and trains it. Importing smp takes longer than all else before a run's first window, and
100 MB: with it come all networks of timm and torchvision, and torch's compiler. Layers and names are smp's, so
weights load by name and give the same bits.

Sources: M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
arXiv:1905.11946; the Lite variants of https://github.com/tensorflow/tpu (no squeeze-and-excitation, ReLU6);
O. Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv:1505.04597.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

SCALES = {
    "timm-tf_efficientnet_lite0": (1.0, 1.0),
    "timm-tf_efficientnet_lite1": (1.0, 1.1),
    "timm-tf_efficientnet_lite2": (1.1, 1.2),
    "timm-tf_efficientnet_lite3": (1.2, 1.4),
    "timm-tf_efficientnet_lite4": (1.4, 1.8),
}
"""Encoder -> how much wider and deeper than EfficientNet-B0 it is."""

_STEM, _HEAD = 32, 1280
"""Channels of the first convolution and of the last, which no width changes."""


class _Stage(NamedTuple):
    """Blocks of one size of EfficientNet-B0."""

    repeats: int
    kernel: int
    stride: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 16), _Stage(2, 3, 2, 24), _Stage(2, 5, 2, 40), _Stage(3, 3, 2, 80), _Stage(3, 5, 1, 112),
    _Stage(4, 5, 2, 192), _Stage(1, 3, 1, 320),
)  # fmt: skip
_SKIPS = (1, 2, 4, 6)
"""After so many stages, features have 1/4, 1/8, 1/16 and 1/32 of the image's side. The stem's have half."""


class LiteUnet(nn.Module):
    """The network: (n, 3, h, w) normalised pixels to (n, channels, h, w) logits; h and w are multiples of 32.

    Parameters
    ----------
    encoder
        A key of `SCALES`.
    decoder_channels
        Of the five steps of the decoder, the coarsest first.
    channels
        Of the output.
    """

    def __init__(self, encoder: str, decoder_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.encoder = LiteEncoder(encoder)
        self.decoder = _Decoder(self.encoder.out_channels, decoder_channels)
        self.segmentation_head = nn.Sequential(nn.Conv2d(decoder_channels[-1], channels, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits."""
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


class LiteEncoder(nn.Module):
    """EfficientNet-Lite without its classifier.

    Parameters
    ----------
    name
        A key of `SCALES`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        width, depth = SCALES[name]
        self.conv_stem = _convolution(3, _STEM, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.act1 = nn.ReLU6(inplace=True)
        self.blocks = nn.ModuleList()
        inside, self.out_channels = _STEM, [_STEM]
        for number, stage in enumerate(_STAGES):
            fixed = number in (0, len(_STAGES) - 1)
            repeats = stage.repeats if fixed else ceil(stage.repeats * depth)
            out = _scaled(stage.channels, width)
            sizes = pairwise([inside, *[out] * repeats])
            make = _Inverted if number else _Separable
            steps = [make(*size, stage.kernel, stage.stride if first else 1) for first, size in _marked(sizes)]
            self.blocks.append(nn.Sequential(*steps))
            inside = out
            if number in _SKIPS:
                self.out_channels.append(out)
        # Not used here, but among a bundle's weights.
        self.conv_head, self.bn2 = _convolution(inside, _HEAD, 1), nn.BatchNorm2d(_HEAD)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Give features of 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's side."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        features = [x]
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in _SKIPS:
                features.append(x)
        return features


class _Separable(nn.Module):
    """A depthwise convolution and one of single pixels."""

    def __init__(self, inside: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _convolution(inside, inside, kernel, stride, groups=inside)
        self.bn1 = nn.BatchNorm2d(inside)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_pw = _convolution(inside, out, 1)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (n, inside, h, w) into (n, out, h / stride, w / stride)."""
        found: Tensor = self.bn2(self.conv_pw(self.act1(self.bn1(self.conv_dw(x)))))
        return found


class _Inverted(nn.Module):
    """A depthwise convolution of six times the channels, added to what came in where that has the same shape."""

    def __init__(self, inside: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inside
        self.conv_pw = _convolution(inside, wide, 1)
        self.bn1 = nn.BatchNorm2d(wide)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_dw = _convolution(wide, wide, kernel, stride, groups=wide)
        self.bn2 = nn.BatchNorm2d(wide)
        self.act2 = nn.ReLU6(inplace=True)
        self.conv_pwl = _convolution(wide, out, 1)
        self.bn3 = nn.BatchNorm2d(out)
        self._adds = inside == out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Turn (n, inside, h, w) into (n, out, h / stride, w / stride)."""
        wide = self.act1(self.bn1(self.conv_pw(x)))
        found: Tensor = self.bn3(self.conv_pwl(self.act2(self.bn2(self.conv_dw(wide)))))
        return found + x if self._adds else found


class _Decoder(nn.Module):
    """The U-Net's way up: each step doubles the side and adds the encoder's features of that size."""

    def __init__(self, encoder_channels: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        below = [encoder_channels[-1], *channels[:-1]]
        beside = [*encoder_channels[-2::-1], 0]
        sizes = zip(below, beside, channels, strict=True)
        self.blocks = nn.ModuleList(_Step(deep + skip, out) for deep, skip, out in sizes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Turn the encoder's features into some of the image's size."""
        x = features[-1]
        for step, skips in zip(self.blocks, [*([skip] for skip in features[-2::-1]), []], strict=True):
            x = step(torch.cat([interpolate(x, scale_factor=2.0, mode="nearest"), *skips], 1))
        return x


class _Step(nn.Module):
    """Two convolutions."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Sequential(_convolution(size, out, 3), nn.BatchNorm2d(out), nn.ReLU(inplace=True))
            for size in (inside, out)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Turn (n, inside, h, w) into (n, out, h, w)."""
        found: Tensor = self.conv2(self.conv1(x))
        return found


def _convolution(inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Make a convolution with same padding, whose bias is the normalisation's behind it."""
    return nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)


def _scaled(channels: int, width: float) -> int:
    """Give the multiple of 8 that is nearest to so many times the channels, and no less than nine tenths of it."""
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def _marked(sizes: Iterable[tuple[int, int]]) -> Iterable[tuple[bool, tuple[int, int]]]:
    """Say of each item whether it is the first."""
    return ((number == 0, size) for number, size in enumerate(sizes))
