"""From a bundle to a torch network. Of `models`, only this module, `lite` and `encoders` need torch to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from wsiseg.errors import BundleError
from wsiseg.models.heads import make_head
from wsiseg.models.lite import SCALES, LiteEncoder, LiteUnet
from wsiseg.models.spec_rules import shortened
from wsiseg.models.typed import TypedNetwork, TypesNetwork
from wsiseg.models.weights import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from wsiseg.models.bundle import ModelBundle, ModelSpec
    from wsiseg.models.weights import StoredTensor


def build_network(spec: ModelSpec) -> nn.Module:
    """Build the network with random weights: (n, 3, h, w) normalised pixels to (n, channels, h, w) logits.

    Raises
    ------
    BundleError
        E-BUNDLE-SPEC: no such encoder.
    """
    # Only now: inference needs no smp, whose import takes longer than all else before a first window.
    import segmentation_models_pytorch as smp

    from wsiseg.models.encoders import encoder_names, register_encoders, smp_name

    for encoder in _encoders(spec):
        if encoder not in encoder_names():
            raise BundleError("E-BUNDLE-SPEC", "no such encoder", where=encoder)
    register_encoders()
    outlines: nn.Module = smp.Unet(
        smp_name(spec.encoder),
        encoder_weights=None,
        decoder_channels=spec.decoder_channels,
        classes=_outline_channels(spec),
    )
    return _with_types(outlines, lambda name: smp.encoders.get_encoder(smp_name(name), weights=None), spec)


def _encoders(spec: ModelSpec) -> list[str]:
    return [spec.encoder, spec.types.encoder] if spec.types else [spec.encoder]


def _outline_channels(spec: ModelSpec) -> int:
    """Give how many channels tell where nuclei are; one more is the plane of types."""
    return make_head(spec).channels - bool(spec.types)


def _with_types(outlines: nn.Module, encoder: Callable[[str], nn.Module], spec: ModelSpec) -> nn.Module:
    """Put the network of the types beside that of the outlines, if the bundle has one."""
    if not spec.types:
        return outlines
    types = TypesNetwork(encoder(spec.types.encoder), spec.types.channels, spec.class_count)
    return TypedNetwork(outlines, types, spec.mpp / spec.types.mpp)


def count_parameters(spec: ModelSpec) -> int:
    """Count the numbers that training learns, without the statistics of normalisation."""
    return sum(parameter.numel() for parameter in build_network(spec).parameters())


def load_network(bundle: ModelBundle) -> nn.Module:
    """Build a bundle's network with its weights in float32, for inference and nothing else.

    Raises
    ------
    BundleError
        E-BUNDLE-WEIGHTS, naming the tensor that is missing, unknown, of another shape or not finite.
    """
    return _loaded(bundle, _for_inference).eval()


def load_trainable(bundle: ModelBundle) -> nn.Module:
    """Build a bundle's network with its weights in float32, to train it further; raises as `load_network`."""
    return _loaded(bundle, build_network)


def _loaded(bundle: ModelBundle, build: Callable[[ModelSpec], nn.Module]) -> nn.Module:
    """Build a network and fill it with a bundle's weights."""
    data = bundle.read_weights()
    try:
        stated = read_header(data)
        network = build(bundle.spec)
        wanted = stored_tensors(network)
        for name in sorted({*stated, *wanted}):
            _check_stated(name, stated, wanted)
        for name, tensor in load(data).items():
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"the tensor {name} holds values that are not finite")
            wanted[name].copy_(tensor)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise BundleError(
            "E-BUNDLE-WEIGHTS", f"not this bundle's weights: {error}", where=bundle.folder
        ) from error
    return network


def _for_inference(spec: ModelSpec) -> nn.Module:
    """Build the network without what only training needs; layers and names are those of `build_network`."""
    if not SCALES.keys() >= set(_encoders(spec)):
        return build_network(spec)
    outlines = LiteUnet(spec.encoder, spec.decoder_channels, _outline_channels(spec))
    return _with_types(outlines, LiteEncoder, spec)


def stored_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Give the tensors that a bundle stores, by name: all but the counters that only training uses."""
    return {name: value for name, value in network.state_dict().items() if value.is_floating_point()}


def _check_stated(name: str, stated: Mapping[str, StoredTensor], wanted: Mapping[str, Tensor]) -> None:
    """Compare what the file's header says of a tensor with what the network wants."""
    if name not in stated:
        raise ValueError(f"the tensor {name} is missing")
    if name not in wanted:
        raise ValueError(f"the tensor {shortened(name)} is unknown")
    shape, right = stated[name].shape, tuple(wanted[name].shape)
    if shape != right:
        raise ValueError(f"the tensor {name} has the shape {shape}, not {right}")
