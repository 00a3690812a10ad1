"""Slides and a bundle for the cohort's benchmarks: mosaics of a real slide, of any size and number."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from wsiseg.geometry import Box
from wsiseg.models.bundle import load_bundle
from wsiseg.slides import open_slide, read_box

if TYPE_CHECKING:
    from pathlib import Path

FIELD_PX = 512
"""Side of a mosaic's fields."""
SMALL_TILE_PX = 64
"""Blocks of 1024 px instead of 4096: many of them in a slide that is made in seconds."""


def write_mosaic(source: Path, path: Path, side: int, seed: int = 0) -> Path:
    """Write a square slide of fields from random places of another; no two windows of it are equal.

    Parameters
    ----------
    side
        Level-0 pixels, rounded up to whole fields. The mosaic claims 0.25 um per pixel.
    """
    slide, rng = open_slide(source, mpp=0.25), np.random.default_rng(seed)
    frame = slide.info.levels[0]
    cells = -(-side // FIELD_PX)
    rgb = np.empty((cells * FIELD_PX, cells * FIELD_PX, 3), np.uint8)
    for row in range(cells):
        for column in range(cells):
            x, y = (int(rng.integers(length - FIELD_PX)) for length in (frame.width, frame.height))
            place = Box(column * FIELD_PX, row * FIELD_PX, FIELD_PX, FIELD_PX)
            rgb[place.slices] = read_box(slide, frame, Box(x, y, FIELD_PX, FIELD_PX))
    slide.close()
    text = f"Aperio Image Library mosaic\r\n{rgb.shape[1]}x{rgb.shape[0]}|AppMag = 40|MPP = 0.25"
    with tifffile.TiffWriter(path) as writer:
        for number, pixels in enumerate((rgb, rgb[::32, ::32], rgb[::4, ::4])):  # level, thumbnail, level
            tile = None if number == 1 else (256, 256)
            writer.write(
                pixels, tile=tile, photometric="rgb", compression="jpeg", description=text, metadata=None,
                software=False,
            )  # fmt: skip
    return path


def write_copies(slide: Path, folder: Path, count: int) -> Path:
    """Write copies of a slide that differ in bytes behind its last directory, which no reader looks at."""
    folder.mkdir(parents=True)
    for number in range(count):
        copy = shutil.copy(slide, folder / f"{number:06d}{slide.suffix}")
        with open(copy, "ab") as file:
            file.write(b"%08d" % number)
    return folder


def write_small_bundle(folder: Path) -> Path:
    """Write the default bundle with smaller tiles, for networks that only pretend."""
    bundle = load_bundle("nuclei-025")
    shutil.copytree(bundle.folder, folder)
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**facts, "tile_px": SMALL_TILE_PX}))
    return folder
