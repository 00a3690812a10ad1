"""From a checkpoint to a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from wsiseg import fsio
from wsiseg.errors import SettingsError
from wsiseg.models.bundle import SPEC_FILE, WEIGHTS_FILE, ModelBundle, load_bundle
from wsiseg.models.network import build_network, stored_tensors
from wsiseg.train.card import write_card
from wsiseg.train.checkpoint import load_checkpoint, same_training
from wsiseg.train.trainer import bundle_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from wsiseg.train.config import TrainConfig


def export_bundle(
    config: TrainConfig,
    checkpoint: Path,
    folder: Path,
    metrics: Mapping[str, Any] | None = None,
    words: Path | None = None,
) -> ModelBundle:
    """Write a training's weights as a bundle in half precision, and open it.

    The config's decoding thresholds may have changed since the training: they are what is chosen last.

    Parameters
    ----------
    metrics
        Name -> summary of an evaluation.
    words
        The part of the model card that is written by hand (`write_card`).

    Raises
    ------
    SettingsError
        E-CONFIG: the checkpoint belongs to another training.
    """
    groups, state = load_checkpoint(checkpoint)
    if not same_training(state["config"], config.as_dict()):
        raise SettingsError("E-CONFIG", "the checkpoint belongs to another config", where=checkpoint)
    draft = config.draft_spec()
    tensors = bundle_weights(groups, config)
    names = stored_tensors(build_network(draft))
    kept = groups.get("fixed", {})
    weights = save({name: _stored(tensors[name], exactly=name in kept).contiguous() for name in names})
    spec = dataclasses.replace(
        draft,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        training={
            "steps": state["step"],
            "history": state["epochs"]["rows"],
            "numerics": state["numerics"],
            "config": config.as_dict(),
            **({"outlines": state["outlines"]} if "outlines" in state else {}),
        },
        metrics=dict(metrics or {}),
    )
    fsio.write_atomic(folder / WEIGHTS_FILE, weights)
    write_card(ModelBundle(spec, folder, ""), words)
    fsio.write_atomic(folder / SPEC_FILE, spec.to_json())
    return load_bundle(folder)


def _stored(tensor: Tensor, *, exactly: bool) -> Tensor:
    """Give a tensor in half precision; one that must stay as it is only where nothing is lost by that."""
    half = tensor.to(torch.float16)
    return tensor if exactly and not torch.equal(half.float(), tensor) else half
