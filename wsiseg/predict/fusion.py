"""A network made ready for inference: what follows a convolution is computed together with it.

Batch normalisation only scales and shifts, so it goes into the weights of the convolution before it. On a CPU the
activation is applied by the convolution too; by itself it would fetch every value from memory and put it back,
which took as long as most convolutions.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

_POINTWISE: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
"""Activations that oneDNN applies within a convolution: its names and their numbers."""


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Put each batch normalisation into the convolution that alone feeds it; in place.

    Parameters
    ----------
    network
        In evaluation mode, in float32. One whose code cannot be traced stays as it is.
    """
    for name, follower in _followed(network):
        convolution, norm = network.get_submodule(name), network.get_submodule(follower)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _fold(convolution, norm)
            network.set_submodule(follower, getattr(norm, "act", nn.Identity()))  # timm's have an activation
    return network


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Scale and shift a convolution's weights as the normalisation would its output."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # noqa: PT018 - or the network is in no evaluation mode
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )


def fuse_activations(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Let each convolution apply the activation that alone takes what it gives; in place, for CPUs.

    Parameters
    ----------
    network
        In evaluation mode, in float32. One whose code cannot be traced stays as it is.
    dtype
        What these convolutions compute in, float32 or bfloat16.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return network
    for name, follower in _followed(network):
        convolution, activation = network.get_submodule(name), type(network.get_submodule(follower))
        # A subclass may pad by a rule of its own.
        if type(convolution) is nn.Conv2d and activation in _POINTWISE and _is_plain(convolution):
            network.set_submodule(name, _ActivatedConvolution(convolution, activation, dtype))
            network.set_submodule(follower, nn.Identity())
    return network


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Tell whether a convolution's padding is one that oneDNN knows."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


class _ActivatedConvolution(nn.Module):
    """A convolution and its activation as one operation of oneDNN's."""

    def __init__(self, convolution: nn.Conv2d, activation: type[nn.Module], dtype: torch.dtype) -> None:
        super().__init__()
        self._weight = convolution.weight.detach().to(dtype, memory_format=torch.channels_last)
        self._bias = None if convolution.bias is None else convolution.bias.detach().to(dtype)
        self._layout = (
            list(convolution.padding), list(convolution.stride), list(convolution.dilation), convolution.groups,
        )  # fmt: skip
        self._activation = _POINTWISE[activation]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve and activate (n, channels, h, w)."""
        # The operation that torch.compile makes of such a pair, without its minutes of compilation.
        found: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            images.to(self._weight.dtype), self._weight, self._bias, *self._layout, *self._activation, ""
        )
        return found


class _Tracer(fx.Tracer):
    """Follows the data through a network, down to its convolutions and normalisations."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is looked into no further."""
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _followed(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Give the names of convolutions, each with that of the module that alone takes what it gives."""
    try:
        calls = [node for node in _Tracer().trace(network).nodes if node.op == "call_module"]
    except Exception:  # noqa: BLE001 - any network's own code runs here, and dpn's fails in its own way
        return
    modules = dict(network.named_modules())
    called = Counter(node.target for node in calls)
    for node in calls:
        following = _taker(node, modules)
        names = str(node.target), str(following.target) if following else ""
        if following and isinstance(modules[names[0]], nn.Conv2d) and called[names[0]] == called[names[1]] == 1:
            yield names


def _taker(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node | None:
    """Give the module's call that alone takes what a node gives, beyond modules that pass it on unchanged."""
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module":
            return None
        if not isinstance(modules[str(node.target)], nn.Identity):
            return node
    return None
