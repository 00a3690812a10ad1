"""Write a synthetic slide full of nuclei: 50 in each tile of 256 px, more than the densest tissue has.

    python benchmarks/dense_slide.py OUT.svs [--side 20480]

Tissue from edge to edge, 0.25 um/px, JPEG tiles and an Aperio description; a painted field, repeated. For what an
engine carries, not for how well a network sees: `benchmarks/engine.py --network colours` finds these nuclei.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator

TILE_PX = 256
NUCLEI_A_TILE = 50
FIELD_PX = 8 * TILE_PX
DOWNSAMPLES = (1, 4, 16)
"""Of the levels."""
STROMA, NUCLEUS = (226, 190, 214), (88, 62, 140)


def paint_field(seed: int = 0) -> np.ndarray:
    """Paint a (FIELD_PX, FIELD_PX, 3) field of ellipses on a jittered lattice; some touch."""
    rng = np.random.default_rng(seed)
    field = np.full((FIELD_PX, FIELD_PX, 3), STROMA, np.uint8)
    step = TILE_PX / NUCLEI_A_TILE**0.5
    centres = np.arange(step / 2, FIELD_PX, step)
    for y in centres:
        for x in centres:
            centre = int(x + rng.uniform(-5, 5)), int(y + rng.uniform(-5, 5))
            axes = int(rng.integers(9, 14)), int(rng.integers(8, 12))
            cv2.ellipse(field, centre, axes, rng.uniform(0, 180), 0, 360, NUCLEUS, cv2.FILLED, cv2.LINE_AA)
    noisy = cv2.GaussianBlur(field, (5, 5), 0) + rng.normal(0, 6, field.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_dense_slide(path: Path, side: int) -> None:
    """Write a square slide of `side` level-0 pixels."""
    field = paint_field()
    description = f"Aperio Image Library synthetic\r\n{side}x{side}|AppMag = 40|MPP = 0.25"
    with tifffile.TiffWriter(path) as writer:
        for downsample in DOWNSAMPLES:
            shape = (side // downsample, side // downsample, 3)
            writer.write(
                _tiles(field[::downsample, ::downsample], shape[0]), shape=shape, dtype=np.uint8,
                tile=(TILE_PX, TILE_PX), photometric="rgb", compression="jpeg", description=description,
                metadata=None, software=False,
            )  # fmt: skip


def _tiles(field: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Give the tiles of a field that is repeated without end."""
    inside = np.arange(TILE_PX)
    for top in range(0, side, TILE_PX):
        for left in range(0, side, TILE_PX):
            yield field[np.ix_((top + inside) % len(field), (left + inside) % len(field))]


def main() -> None:
    """Write one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=20480)
    args = parser.parse_args()
    write_dense_slide(args.out, args.side)


if __name__ == "__main__":
    main()
