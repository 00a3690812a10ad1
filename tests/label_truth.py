"""Label images with a known truth, and the stores that hold them: what the tests of the masks share."""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import zarr

from wsiseg.export.omezarr import MaskArrays, MaskClass, StoreSpec, create_store
from wsiseg.geometry import Frame
from wsiseg.stitch import stitch_slide
from wsiseg.tiling import Block, TileGrid

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = (MaskClass(1, "nucleus", (200, 30, 30)), MaskClass(2, "other", (30, 30, 200)))
NOTHING = (np.empty((0, 4), np.int32), np.empty(0, np.uint32), np.empty(0, np.uint8))


def make_store(path: Path, grid: TileGrid, ngff: str = "0.5") -> MaskArrays:
    overview = np.full((4, 4, 3), 240, np.uint8)
    spec = StoreSpec(grid.frame, 0.5, grid.block_px, CLASSES, ngff)
    return create_store(path, spec, overview, Frame(4, 4, max(grid.frame.shape) / 4))


def discs(frame: Frame, radius: int = 6, seed: int = 0) -> np.ndarray:
    """Labels of discs on a jittered lattice: none overlaps, some touch a block line or the frame's edge."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(frame.shape, np.uint32)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = np.argwhere(y**2 + x**2 <= radius**2) - radius
    number = 0
    for top in range(0, frame.height, 3 * radius):
        for left in range(0, frame.width, 3 * radius):
            pixels = disc + (top, left) + rng.integers(0, radius, 2)
            pixels = pixels[((pixels >= 0) & (pixels < frame.shape)).all(1)]
            number += 1
            labels[tuple(pixels.T)] = number
    return labels


def class_of(labels: np.ndarray) -> np.ndarray:
    return np.where(labels > 0, labels % 2 + 1, 0).astype(np.uint8)


def by_block(grid: TileGrid, labels: np.ndarray) -> dict[Block, tuple]:
    """Cut a label image into the tables that blocks would give: each nucleus where its first pixel lies."""
    edges = np.diff(np.pad(labels, ((0, 0), (1, 1))).astype(np.int64), axis=1) != 0
    tables: dict[Block, tuple[list, list]] = {}
    owners: dict[int, tuple[list, int]] = {}
    for y, row in enumerate(edges):
        for start, stop in pairwise(np.flatnonzero(row)):
            number = int(labels[y, start])
            if number == 0:
                continue
            if number not in owners:
                block = Block(y // grid.block_px, int(start) // grid.block_px)
                runs, ids = tables.setdefault(block, ([], []))
                owners[number] = runs, len(ids)
                ids.append(number)
            runs, index = owners[number]
            runs.append((index, y, start, stop))
    return {
        block: (np.array(runs, np.int32), np.array(ids, np.uint32), class_of(np.array(ids)))
        for block, (runs, ids) in tables.items()
    }


def lookup(tables: dict[Block, tuple], block: Block) -> tuple:
    return tables.get(block, NOTHING)


def stitched(path: Path, grid: TileGrid, labels: np.ndarray, ngff: str = "0.5", workers: int = 2) -> MaskArrays:
    arrays = make_store(path, grid, ngff)
    load = partial(lookup, by_block(grid, labels))
    stitch_slide(grid, load, nuclei=arrays.nuclei, classes=arrays.classes, workers=workers)
    return arrays


def read(path: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(str(path), mode="r")[:])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
