"""A18, A19, A21: the structure of a TIFF, mutated, before the check that no C library precedes."""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from faults.fuzzing import Target, fuzz, main
from wsiseg.errors import SlideError
from wsiseg.slides.tiff import TIFF_MAGIC, check_tiff

if TYPE_CHECKING:
    from faults.bench import Bench
    from faults.table import Row

RUNS = 20_000
NAME = Path("mutated.tif")


def seeds() -> list[bytes]:
    """Small pyramids whose bytes are mostly structure: classic and BigTIFF, both byte orders, tiles and strips."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.tif"
        for big, order in ((False, "<"), (False, ">"), (True, "<"), (True, ">")):
            with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as writer:
                for side in (64, 32):
                    pixels = np.zeros((side, side, 3), np.uint8)
                    options = {"photometric": "rgb", "compression": "deflate", "metadata": None}
                    writer.write(pixels, tile=(16, 16), description="Aperio\nx|MPP = 0.25", **options)
                writer.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb", rowsperstrip=4, metadata=None)
            found.append(path.read_bytes())
    return found


def judge(data: bytes) -> None:
    """Check the bytes as `open_slide` does."""
    if data[:4] in TIFF_MAGIC:
        with suppress(SlideError):
            check_tiff(io.BytesIO(data), NAME)


TARGET = Target("fuzz_tiff", "A18, A19, A21", "mutated structures of TIFFs", seeds, judge)


def sweep(bench: Bench, share: float) -> list[Row]:
    """Fuzz the check of a TIFF's structure."""
    return [fuzz(TARGET, max(round(RUNS * share), 1))]


if __name__ == "__main__":
    main(TARGET)
