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
from wsiseg.train.checkpoint import load_checkpoint, same_training
from wsiseg.train.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def export_bundle(
    config_path: Path, checkpoint: Path, folder: Path, metrics: Mapping[str, Any] | None = None
) -> ModelBundle:
    """Write a training's averaged weights as a bundle, in half precision, and open it.

    The config's decoding thresholds may have changed since the training: they are what is chosen last.

    Raises
    ------
    SettingsError
        E-CONFIG: the checkpoint belongs to another training.
    """
    config = TrainConfig.from_toml(config_path)
    groups, state = load_checkpoint(checkpoint)
    if not same_training(state["config"], config.as_dict()):
        raise SettingsError("E-CONFIG", "the checkpoint belongs to another config", where=checkpoint)
    draft = config.draft_spec()
    names = stored_tensors(build_network(draft))
    weights = save({name: groups["averaged"][name].to(torch.float16).contiguous() for name in names})
    spec = dataclasses.replace(
        draft,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        training={"steps": state["step"], "history": state["history"], "config": config.as_dict()},
        metrics=dict(metrics or {}),
    )
    fsio.write_atomic(folder / WEIGHTS_FILE, weights)
    fsio.write_atomic(folder / SPEC_FILE, spec.to_json())
    return load_bundle(folder)
