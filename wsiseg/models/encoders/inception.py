"""Inception-V3 as the encoder of a U-Net, with same padding everywhere, so that tiles meet.

The published network pads only some of its layers: at 512 px its features have 253, 124, 61, 30 and 14 px, and a
decoder that stretches them shifts a pixel by how far it lies from the tile's corner. Here they have 256, 128, 64,
32 and 16. Layers and names are those of timm's `inception_v3`, so its weights load by name.

Source: C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    Kernel = int | tuple[int, int]
    Step = tuple[int, *tuple[Kernel, ...]]
    """Output channels and kernel of a convolution; two kernels are two convolutions of the same input."""
    Branches = Mapping[str, list[Step]]
    """Chains of convolutions beside each other, by name."""

_BATCH_NORM_EPS = 1e-3  # TensorFlow's, which the published weights were trained with
_CLASSIFIERS = ("fc.", "AuxLogits.")

_A: Branches = {
    "branch1x1": [(64, 1)],
    "branch5x5": [(48, 1), (64, 5)],
    "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
}
_B: Branches = {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}
_D: Branches = {
    "branch3x3": [(192, 1), (320, 3)],
    "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)],
}
_E: Branches = {
    "branch1x1": [(320, 1)],
    "branch3x3": [(384, 1), (384, (1, 3), (3, 1))],
    "branch3x3dbl": [(448, 1), (384, 3), (384, (1, 3), (3, 1))],
}


def _c(inner: int) -> Branches:
    return {
        "branch1x1": [(192, 1)],
        "branch7x7": [(inner, 1), (inner, (1, 7)), (192, (7, 1))],
        "branch7x7dbl": [(inner, 1), (inner, (7, 1)), (inner, (1, 7)), (inner, (7, 1)), (192, (1, 7))],
    }


class ConvNorm(nn.Module):
    """A convolution with same padding, batch normalisation and ReLU."""

    def __init__(self, channels: int, out: int, kernel: Kernel, stride: int = 1) -> None:
        super().__init__()
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        self.conv = nn.Conv2d(channels, out, (height, width), stride, (height // 2, width // 2), bias=False)
        self.bn = nn.BatchNorm2d(out, eps=_BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (n, channels, h, w) into (n, out, h / stride, w / stride), rounded up."""
        return torch.relu_(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """A block of the paper: branches of the same input and a pooling of it, stacked along the channels.

    Parameters
    ----------
    channels
        Input channels.
    branches
        The branches' convolutions.
    pool
        Output channels of the convolution behind the average pooling. Without it the block halves the image: the
        pooling is a maximum, and the last convolution of each branch has the stride 2.
    """

    def __init__(self, channels: int, branches: Branches, pool: int | None = None) -> None:
        super().__init__()
        last_stride = 1 if pool else 2
        self._chains = [self._add_chain(name, channels, steps, last_stride) for name, steps in branches.items()]
        self._pooling = nn.AvgPool2d(3, 1, padding=1) if pool else nn.MaxPool2d(3, 2, padding=1)
        self.branch_pool = ConvNorm(channels, pool, 1) if pool else nn.Identity()

    def _add_chain(self, branch: str, channels: int, steps: list[Step], last_stride: int) -> list[list[str]]:
        """Add a branch's convolutions under timm's names; give the names, a list a step."""
        chain = []
        for number, (out, *kernels) in enumerate(steps, 1):
            step = branch if len(steps) == 1 else f"{branch}_{number}"
            names = [step] if len(kernels) == 1 else [step + letter for letter in "ab"]
            for name, kernel in zip(names, kernels, strict=True):
                stride = last_stride if number == len(steps) else 1
                self.add_module(name, ConvNorm(channels, out, kernel, stride))
            chain.append(names)
            channels = out
        return chain

    def forward(self, x: Tensor) -> Tensor:
        """Turn (n, channels, h, w) into (n, sum of the branches' channels, h, w), or half of h and w."""
        outputs = [output for chain in self._chains for output in self._run(chain, x)]
        return torch.cat([*outputs, self.branch_pool(self._pooling(x))], 1)

    def _run(self, chain: list[list[str]], x: Tensor) -> list[Tensor]:
        """Give the outputs of a chain's last step; only the last may have two."""
        for (name,) in chain[:-1]:
            x = self.get_submodule(name)(x)
        return [self.get_submodule(name)(x) for name in chain[-1]]


class InceptionV3Encoder(nn.Module, EncoderMixin):  # type: ignore[misc]  # smp has no types
    """Inception-V3 without its classifiers, as smp's decoders want an encoder.

    Parameters
    ----------
    depth
        Number of halvings, 1 to 5.
    output_stride
        32: smp passes it, and no other is made.
    """

    _STAGES = (
        ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
        ("Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        ("Pool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
        ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    )
    """The layers between one halving and the next."""

    def __init__(self, depth: int = 5, output_stride: int = 32) -> None:
        super().__init__()
        self._depth, self._in_channels, self._output_stride = depth, 3, output_stride
        self._out_channels = [3, 64, 192, 288, 768, 2048]
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.Pool1 = nn.MaxPool2d(3, 2, padding=1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.Pool2 = nn.MaxPool2d(3, 2, padding=1)
        self.Mixed_5b = Mixed(192, _A, pool=32)
        self.Mixed_5c = Mixed(256, _A, pool=64)
        self.Mixed_5d = Mixed(288, _A, pool=64)
        self.Mixed_6a = Mixed(288, _B)
        self.Mixed_6b = Mixed(768, _c(128), pool=192)
        self.Mixed_6c = Mixed(768, _c(160), pool=192)
        self.Mixed_6d = Mixed(768, _c(160), pool=192)
        self.Mixed_6e = Mixed(768, _c(192), pool=192)
        self.Mixed_7a = Mixed(768, _D)
        self.Mixed_7b = Mixed(1280, _E, pool=192)
        self.Mixed_7c = Mixed(2048, _E, pool=192)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Give the image (n, 3, h, w) and its features of 1/2, 1/4, ... 1/2**depth of h and w, multiples of 32."""
        features = [x]
        for stage in self._STAGES[: self._depth]:
            for name in stage:
                x = self.get_submodule(name)(x)
            features.append(x)
        return features

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - torch's signature
        """Load tensors by name as `torch.nn.Module` does, without those of timm's classifiers."""
        kept = {name: value for name, value in state_dict.items() if not name.startswith(_CLASSIFIERS)}
        return super().load_state_dict(kept, strict, assign)
