"""What a bundle tells people of itself: what it was trained on, how well it did, where it is known to fail.

A bundle may come from anywhere: what is missing or odd is left out, never an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsiseg.errors import BundleError
from wsiseg.models.spec_rules import shortened

if TYPE_CHECKING:
    from wsiseg.models.bundle import ModelBundle, ModelSpec

RANDOM, IMAGENET = "random weights", "ImageNet weights"
NOT_STATED = "weights not stated"
MOST_FAILURES, MOST_CHARACTERS = 8, 300
"""Of a card at most so many known failures, each no longer than this."""


@dataclass(frozen=True, slots=True)
class Figure:
    """How a bundle did on labelled fields that it did not learn from."""

    data: str
    split: str
    """`test`, or another that choices were made on."""
    nuclei: int
    """True ones."""
    precision: float
    """Share of the found nuclei that are true ones."""
    recall: float
    """Share of the true nuclei that were found."""


def began_with(spec: ModelSpec) -> str:
    """Name what a training began with: `RANDOM`, `IMAGENET`, a file or bundle of weights, or `NOT_STATED`."""
    try:
        model: dict[str, Any] = spec.training["config"]["model"]
        if model.get("start_from"):
            return f"the bundle {model['start_from']}"
        weights = str(model["encoder_weights"])
    except (KeyError, TypeError, AttributeError):
        return NOT_STATED
    return {"": RANDOM, "imagenet": IMAGENET}.get(weights) or weights.removesuffix("/bundle").rsplit("/", 1)[-1]


def trained_on(spec: ModelSpec) -> str:
    """Name a training's data folders, each with its share of the crops; empty where the bundle does not tell."""
    own, outlines = _folders(spec.training), _folders(spec.training.get("outlines", {}))
    return f"{outlines}; types: {own}" if own and outlines else own


def _folders(training: Any) -> str:  # noqa: ANN401 - any JSON value
    try:
        sources: list[dict[str, Any]] = training["config"]["sources"]
        shares = {str(source["folder"]): float(source["share"]) for source in sources}
        percent = {folder: 100 * share / sum(shares.values()) for folder, share in shares.items()}
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ""
    if len(percent) == 1:
        return next(iter(percent))
    return ", ".join(f"{folder} ({share:.0f} % of the crops)" for folder, share in percent.items())


def trained_for(spec: ModelSpec) -> str:
    """Say how many steps of which crops a training took; empty where the bundle does not tell."""
    own, outlines = _steps(spec.training), _steps(spec.training.get("outlines", {}))
    return f"{outlines}; types: {own}" if own and outlines else own


def _steps(training: Any) -> str:  # noqa: ANN401 - any JSON value
    try:
        schedule = training["config"]["schedule"]
        return f"{training['steps']:,} steps of {schedule['batch']} crops of {schedule['crop_px']} px"
    except (KeyError, TypeError, ValueError):
        return ""


def figures(spec: ModelSpec) -> list[Figure]:
    """Give the figures that `wsiseg evaluate` wrote into the bundle."""
    return [found for record in spec.metrics.values() if (found := _figure(record)) is not None]


def _figure(record: Any) -> Figure | None:  # noqa: ANN401 - any JSON value
    try:
        precision, recall = (float(record["pooled"][name]) for name in ("precision", "recall"))
        data, split = (shortened(str(record[name])) for name in ("data", "split"))
        nuclei = record["nuclei_true"]
    except (KeyError, TypeError, ValueError):
        return None
    sane = type(nuclei) is int and nuclei >= 0 and 0 <= precision <= 1 and 0 <= recall <= 1
    return Figure(data, split, nuclei, precision, recall) if sane else None


def known_failures(bundle: ModelBundle) -> list[str]:
    """Give the points that the bundle's card lists under a heading such as "Known failures", as plain text."""
    try:
        card = bundle.read_card()
    except BundleError:
        return []
    section = re.search(r"^## [^\n]*failures[^\n]*\n(.*?)(?=^## |\Z)", card, re.M | re.S | re.I)
    points = re.findall(r"^- (.*(?:\n  +\S.*)*)", section[1], re.M) if section else []
    plain = (" ".join(re.sub(r"[*`]", "", point).split()) for point in points[:MOST_FAILURES])
    return [point if len(point) <= MOST_CHARACTERS else f"{point[:MOST_CHARACTERS]} ..." for point in plain]
