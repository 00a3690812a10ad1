"""Bundles with tiny random networks and invented epochs, for what compares and describes models."""

from dataclasses import replace

import torch
from safetensors.torch import save_file

from wsiseg.fsio import sha256_of
from wsiseg.models.bundle import ClassSpec, ModelSpec, load_bundle
from wsiseg.models.network import build_network, stored_tensors

SPEC = ModelSpec(
    name="tiny",
    version="0.0.1",
    architecture="unet",
    encoder="mobilenet_v2",
    decoder_channels=(8, 8, 8, 8, 8),
    head="semantic",
    head_settings={},
    classes=(ClassSpec(1, "nucleus", (0, 200, 80)),),
    mpp=0.5,
    tile_px=256,
    halo_px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    licence="Apache-2.0",
    weights_sha256="0" * 64,
)


def epoch_row(epoch, val_iou, val_loss=0.5):
    """One epoch as a bundle's history has it; each figure is told apart by its value."""
    train = {"train_loss": 0.4, "train_iou": 0.8, "train_fscore": 0.9}
    val = {"val_loss": val_loss, "val_iou": val_iou, "val_fscore": val_iou + 0.1}
    return {"epoch": epoch, "step": 3 * epoch, "learning_rate": 1e-3, **train, **val}


def training_of(val_ious=(), encoder_weights="", **model):
    """What a bundle says of its training."""
    return {
        "steps": 6,
        "history": [epoch_row(number, value) for number, value in enumerate(val_ious, 1)],
        "config": {
            "model": {"encoder_weights": encoder_weights, **model},
            "sources": [{"folder": "discs", "share": 3.0}, {"folder": "rings", "share": 1.0}],
            "schedule": {"batch": 2, "crop_px": 64},
        },
    }


def write_model(folder, **changes):
    """Write a bundle; weights are random, the same each time."""
    folder.mkdir(parents=True)
    spec = replace(SPEC, **changes)
    torch.manual_seed(0)
    save_file(stored_tensors(build_network(spec)), folder / "weights.safetensors")
    spec = replace(spec, weights_sha256=sha256_of(folder / "weights.safetensors"))
    (folder / "model.json").write_bytes(spec.to_json())
    return load_bundle(folder)


def describe_model(folder, **changes):
    """Write a bundle's description alone, for what needs no weights."""
    folder.mkdir(parents=True)
    (folder / "model.json").write_bytes(replace(SPEC, **changes).to_json())
    return folder
