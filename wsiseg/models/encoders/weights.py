"""An encoder's ImageNet weights, from the hub or from a file; safetensors only."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import segmentation_models_pytorch as smp
from safetensors import SafetensorError
from safetensors.torch import load_file

from wsiseg.errors import SettingsError
from wsiseg.models.encoders.hub import fetch
from wsiseg.models.encoders.registry import register_encoders, smp_name

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def load_imagenet(network: nn.Module, encoder: str) -> None:
    """Load the ImageNet weights that the hub has for a network's encoder.

    Raises
    ------
    SettingsError
        E-WEIGHTS: the hub has no safetensors of them, or its file does not fit.
    ResourceError
        E-HUB: the hub cannot be reached.
    """
    register_encoders()
    source = smp.encoders.encoders[smp_name(encoder)]["pretrained_settings"].get("imagenet", {})
    if "repo_id" not in source:
        raise SettingsError(
            "E-WEIGHTS",
            "the hub has no ImageNet weights for this encoder",
            where=encoder,
            fix="give a safetensors file with --encoder-weights, or begin at random",
        )
    load_encoder_weights(network, fetch(source["repo_id"], source["revision"]))


def load_encoder_weights(network: nn.Module, path: Path) -> None:
    """Load a safetensors file into a network's encoder, tensor by name; those of a classifier are left out.

    Raises
    ------
    SettingsError
        E-WEIGHTS: the file is not there, is no safetensors, or its tensors are not those of the encoder.
    """
    try:
        # The encoder's own method knows its classifier's names, and refuses every other difference.
        network.encoder.load_state_dict(load_file(path))  # type: ignore[union-attr]
    except (OSError, SafetensorError, RuntimeError) as error:
        problem = textwrap.shorten(str(error), 300, placeholder=" ...")
        fix = "give a safetensors file of this encoder's own weights"
        raise SettingsError("E-WEIGHTS", problem, where=path, fix=fix) from error
