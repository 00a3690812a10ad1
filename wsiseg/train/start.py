"""What a training starts from: random weights, an encoder's, or those of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsiseg.errors import SettingsError
from wsiseg.models.bundle import bundle_names, load_bundle
from wsiseg.models.encoders import load_encoder_weights, load_imagenet
from wsiseg.models.network import build_network, load_trainable

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.train.config import ModelConfig, TrainConfig

_SAME_NETWORK = ("architecture", "encoder", "decoder_channels", "head", "mean", "std")
"""What a bundle must share with a config that starts from it."""
_SAME_OUTLINES = (*_SAME_NETWORK, "mpp", "head_settings")
"""And what more, where its outlines are kept: so they stay what its card says of them."""


def start_network(config: TrainConfig, root: Path) -> nn.Module:
    """Build the network with the weights that a training starts from.

    Raises
    ------
    SettingsError
        E-WEIGHTS, or E-CONFIG: the bundle to start from holds another network.
    BundleError
        There is no such bundle, or it is damaged.
    """
    model = config.model
    if model.types:
        return _with_types(config, root)
    if model.start_from:
        return _outlines(_bundle(model, root, _SAME_NETWORK))
    network = build_network(config.draft_spec())
    if model.encoder_weights == "imagenet":
        load_imagenet(network, model.encoder)
    elif model.encoder_weights:
        load_encoder_weights(network, root / model.encoder_weights)
    return network


def kept_training(config: TrainConfig, root: Path) -> dict[str, Any]:
    """Give what the bundle tells of its training whose outlines are kept; empty where all is learned."""
    model = config.model
    if not model.types:
        return {}
    training = load_bundle(_place(model.start_from, root)).spec.training
    return dict(training.get("outlines", training))


def _with_types(config: TrainConfig, root: Path) -> nn.Module:
    """Put the types' network beside a bundle's outlines."""
    model = config.model
    network = build_network(config.draft_spec())
    outlines = _outlines(_bundle(model, root, _SAME_OUTLINES))
    network.get_submodule("outlines").load_state_dict(outlines.state_dict())
    if model.types and model.types_start_from:
        bundle = load_bundle(_place(model.types_start_from, root))
        if bundle.spec.encoder != model.types.encoder:
            what = f"model.types_start_from names a bundle whose encoder is {bundle.spec.encoder}"
            fix = f"take one with {model.types.encoder}, or another model.types.encoder"
            raise SettingsError("E-CONFIG", what, where=bundle.folder, fix=fix)
        encoder = _outlines(bundle).get_submodule("encoder")
        network.get_submodule("types.encoder").load_state_dict(encoder.state_dict())
    return network


def _bundle(model: ModelConfig, root: Path, same: tuple[str, ...]) -> ModelBundle:
    """Open the bundle that a training starts from, if it is the same as the config where it must be."""
    bundle = load_bundle(_place(model.start_from, root))
    for key in same:
        wanted, found = getattr(model, key), getattr(bundle.spec, key)
        if wanted != found:
            what = f"model.start_from names a bundle whose {key} is {found}, but model.{key} is {wanted}"
            raise SettingsError("E-CONFIG", what, where=bundle.folder, fix="change the one or the other")
    return bundle


def _outlines(bundle: ModelBundle) -> nn.Module:
    """Load the part of a bundle's network that finds outlines: all of it where there are no types."""
    network = load_trainable(bundle)
    return network.get_submodule("outlines") if bundle.spec.types else network


def _place(name: str, root: Path) -> str | Path:
    """Give a bundle's name if it ships, else its folder."""
    return name if name in bundle_names() else root / name
