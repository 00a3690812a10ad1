"""From a bundle to a torch network. Of `models`, only this module and `encoders` need torch to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from wsiseg.errors import BundleError
from wsiseg.models.encoders import encoder_names, register_encoders, smp_name
from wsiseg.models.heads import make_head
from wsiseg.models.spec_rules import parse_strict

if TYPE_CHECKING:
    from torch import Tensor

    from wsiseg.models.bundle import ModelBundle, ModelSpec


def build_network(spec: ModelSpec) -> nn.Module:
    """Build the network with random weights: (n, 3, h, w) normalised pixels to (n, channels, h, w) logits.

    Raises
    ------
    BundleError
        E-BUNDLE-SPEC: no such encoder.
    """
    if spec.encoder not in encoder_names():
        raise BundleError("E-BUNDLE-SPEC", "no such encoder", where=spec.encoder)
    register_encoders()
    network: nn.Module = smp.Unet(
        smp_name(spec.encoder),
        encoder_weights=None,
        decoder_channels=spec.decoder_channels,
        classes=make_head(spec).channels,
    )
    return network


def load_network(bundle: ModelBundle) -> nn.Module:
    """Build a bundle's network with its weights in float32, ready for inference.

    Raises
    ------
    BundleError
        E-BUNDLE-WEIGHTS, naming the tensor that is missing, unknown, of another shape or not finite.
    """
    network = build_network(bundle.spec)
    tensors = _parse(bundle.read_weights(), bundle)
    wanted = stored_tensors(network)
    for name in sorted(set(wanted) ^ set(tensors)):
        problem = "is missing" if name in wanted else "is unknown"
        raise BundleError("E-BUNDLE-WEIGHTS", f"the tensor {name} {problem}", where=bundle.folder)
    for name, tensor in tensors.items():
        if problem := _problem(tensor, wanted[name]):
            raise BundleError("E-BUNDLE-WEIGHTS", f"the tensor {name} {problem}", where=bundle.folder)
        wanted[name].copy_(tensor)
    return network.eval()


def stored_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Give the tensors that a bundle stores, by name: all but the counters that only training uses."""
    return {name: value for name, value in network.state_dict().items() if value.is_floating_point()}


def _parse(data: bytes, bundle: ModelBundle) -> dict[str, Tensor]:
    try:
        # safetensors takes the last of two equal names; nobody writes such a file by accident.
        parse_strict(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tensors: dict[str, Tensor] = load(data)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise BundleError("E-BUNDLE-WEIGHTS", f"not a safetensors file: {error}", where=bundle.folder) from error
    return tensors


def _problem(tensor: Tensor, wanted: Tensor) -> str:
    if tensor.shape != wanted.shape:
        return f"has the shape {tuple(tensor.shape)}, not {tuple(wanted.shape)}"
    if tensor.dtype not in (torch.float16, torch.float32):
        return f"has the type {tensor.dtype}"
    return "" if bool(torch.isfinite(tensor).all()) else "holds values that are not finite"
