"""How fast a model is, on the device at hand."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.predict import TorchPredictor

if TYPE_CHECKING:
    from wsiseg.models.bundle import ModelBundle

TILE_PX = 256
BATCH = 4
_WARM_UPS = 2
"""Forward passes before the clock runs: the first ones reserve memory and choose algorithms."""
_LEAST_PASSES = 3


def tiles_per_second(bundle: ModelBundle, device: str = "auto", seconds: float = 2.0) -> float:
    """Measure forward passes as `wsiseg run` makes them: bytes in, bytes out, in the device's own precision.

    Parameters
    ----------
    seconds
        Time to measure for; at least three passes are measured.

    Returns
    -------
    256 px tiles a second, in batches of 4, from the median pass.
    """
    predictor = TorchPredictor(bundle, device, BATCH)
    tiles = np.random.default_rng(0).integers(0, 256, (BATCH, TILE_PX, TILE_PX, 3), np.uint8)
    for _ in range(_WARM_UPS):
        predictor.predict(tiles)
    passes: list[float] = []
    while sum(passes) < seconds or len(passes) < _LEAST_PASSES:
        start = time.perf_counter()
        predictor.predict(tiles)
        passes.append(time.perf_counter() - start)
    return BATCH / median(passes)
