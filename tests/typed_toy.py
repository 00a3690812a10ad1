"""A slide whose nuclei are of three classes, each of its own colour, and the network that knows them by it.

As `toy`, but with the map of types, so that a whole run has classes and each of them is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from synthetic import Painting, paint_tissue, scattered, write_slide
from toy import ColourPredictor, colour_maps, describe_bundle, run_toy, toy_spec

from wsiseg.geometry import Box
from wsiseg.models.bundle import ClassSpec, TypesSpec
from wsiseg.typemap import CELL_PX

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (1303, 1110)
"""Level 0, px: 2 x 2 blocks, and the frame ends inside cells."""
TISSUE = Box(60, 60, 1180, 990)
"""The rest is glass."""
CLASSES = (
    ClassSpec(3, "tumour or epithelial", (200, 0, 0)),
    ClassSpec(1, "lymphocyte", (0, 160, 60)),
    ClassSpec(2, "stromal", (60, 110, 220)),
)
"""In an order that is not that of their values."""
TYPES = TypesSpec("timm-tf_efficientnet_lite0", 8, 2)
"""Never built: `TypedPredictor` stands in for it."""
COLOURS = ((120, 70, 150), (50, 30, 110), (90, 100, 160))
"""Of the nuclei of each class, all dark enough for `toy.colour_maps`."""


class TypedPredictor(ColourPredictor):
    """Tells classes by their colours."""

    def predict(self, windows: np.ndarray) -> np.ndarray:
        maps = super().predict(windows)
        types = np.stack([types_of(rgb) for rgb in windows])
        return np.concatenate([maps, types[:, None]], axis=1)


def network(_bundle, _settings, _threads) -> TypedPredictor:
    """The network of a cohort's workers, which import it by name."""
    return TypedPredictor()


def types_of(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) RGB to the (h, w) map of types: of each cell, the share of its nuclear pixels of each colour."""
    rows, columns = (side // CELL_PX for side in rgb.shape[:2])
    cells = rgb[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX, 3)
    counts = [(cells == colour).all(axis=4).sum(axis=(1, 3)) for colour in COLOURS]
    shares = [255 * count // np.maximum(sum(counts), 1) for count in counts]
    plane = np.zeros(rgb.shape[:2], np.uint8)
    for place, share in enumerate(shares):
        r, c = divmod(place, CELL_PX)
        plane[r : rows * CELL_PX : CELL_PX, c : columns * CELL_PX : CELL_PX] = share
    return plane


def all_maps(rgb: np.ndarray) -> np.ndarray:
    """All three maps of a picture."""
    return np.concatenate([colour_maps(rgb), types_of(rgb)[None]])


@dataclass(frozen=True)
class TypedRun:
    """A finished run of a painted slide, and its truth."""

    painting: Painting
    places: np.ndarray
    """Place in `CLASSES` of each painted nucleus."""
    slide: Path
    bundle: Path
    path: Path


def paint_classes() -> tuple[Painting, np.ndarray]:
    """Lymphocytes on the left, stroma on the right, tumour in the middle; give the place of each one's class."""
    nuclei = [n for n in scattered(SIZE, spacing=52) if 90 < n.x < 1210 and 90 < n.y < 1020]
    painting = paint_tissue(SIZE, nuclei, [TISSUE], noise=0)
    places = np.array([1 if n.x < 400 else 2 if n.x > 900 else 0 for n in nuclei])
    rgb = painting.rgb.copy()
    inside = painting.labels > 0
    rgb[inside] = np.array(COLOURS, np.uint8)[places[painting.labels[inside] - 1]]
    return replace(painting, rgb=rgb), places


def make_run(folder: Path) -> TypedRun:
    """Paint and run."""
    painting, places = paint_classes()
    slide = write_slide(folder / "a slide.svs", painting.rgb, mpp=0.25)
    bundle = describe_bundle(folder / "typed", replace(toy_spec(), classes=CLASSES, types=TYPES))
    run_toy(slide, folder / "run", bundle, predictor=TypedPredictor(), tissue="auto")
    return TypedRun(painting, places, slide, bundle, folder / "run")
