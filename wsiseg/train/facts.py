"""What a bundle's description tells of its network and of how that was trained, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsiseg.models.network import build_network

if TYPE_CHECKING:
    from wsiseg.models.bundle import ModelSpec

RANDOM, IMAGENET = "random weights", "ImageNet weights"
NOT_STATED = "weights not stated"


def count_parameters(spec: ModelSpec) -> int:
    """Count the numbers that training learns, without the statistics of normalisation."""
    return sum(parameter.numel() for parameter in build_network(spec).parameters())


def began_with(spec: ModelSpec) -> str:
    """Name what a training began with: `RANDOM`, `IMAGENET`, a file or bundle of weights, or `NOT_STATED`."""
    try:
        model: dict[str, Any] = spec.training["config"]["model"]
        if model.get("start_from"):
            return f"the bundle {model['start_from']}"
        weights = str(model["encoder_weights"])
    except (KeyError, TypeError, AttributeError):  # a bundle may come from anywhere
        return NOT_STATED
    return {"": RANDOM, "imagenet": IMAGENET}.get(weights) or weights.removesuffix("/bundle").rsplit("/", 1)[-1]


def trained_on(spec: ModelSpec) -> str:
    """Name a training's data folders, each with its share of the crops; empty where the bundle does not tell."""
    try:
        sources: list[dict[str, Any]] = spec.training["config"]["sources"]
        shares = {str(source["folder"]): float(source["share"]) for source in sources}
        percent = {folder: 100 * share / sum(shares.values()) for folder, share in shares.items()}
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # a bundle may come from anywhere
        return ""
    if len(percent) == 1:
        return next(iter(percent))
    return ", ".join(f"{folder} ({share:.0f} % of the crops)" for folder, share in percent.items())


def trained_for(spec: ModelSpec) -> str:
    """Say how many steps of which crops a training took; empty where the bundle does not tell."""
    try:
        schedule = spec.training["config"]["schedule"]
        return f"{spec.training['steps']:,} steps of {schedule['batch']} crops of {schedule['crop_px']} px"
    except (KeyError, TypeError, ValueError):  # a bundle may come from anywhere
        return ""
