"""What a planned run will cost, from its counts and a short measurement of the network on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg.host import usable_cores
from wsiseg.run.blocks import WINDOW_TILES
from wsiseg.run.engine import MOST_DECODERS

if TYPE_CHECKING:
    from wsiseg.predict import Predictor
    from wsiseg.run.plan import RunPlan

START_S = 6.0
"""Estimated: imports, loading the network, tissue and the last pages of a small run."""
BASE_BYTES = 1_000_000_000
"""Python, torch and the other libraries; a 20480 px slide is forecast 2.4 GB, measured 2.2 and 2.5 (fp32)."""
WINDOW_BYTES_PER_PIXEL = 700
"""Estimated: activations of the default network in fp32."""
DECODE_BYTES_PER_PIXEL = 32
"""Estimated: decoding and outlining a block with its margin, each thread."""
MAPS_BYTES_PER_PIXEL = 0.84
"""Measured: maps and stains of the default network on disk, compressed, in breast tissue full of nuclei."""
RESULT_BYTES_PER_PIXEL = 0.2
"""Estimated: a decoded block's nuclei."""


def forecast(plan: RunPlan) -> dict[str, Any]:
    """Forecast tiles, time, memory and disk of a run; times the network on one blank window."""
    from wsiseg.predict import predictor_on

    predictor = predictor_on(plan.bundle, plan.settings.device, plan.settings.batch)
    rate = _tiles_per_second(plan, predictor)
    tissue = int(plan.wanted.sum())
    active = len(plan.layout.active_blocks())
    workers = plan.settings.workers or usable_cores()
    window = (WINDOW_TILES * plan.grid.tile_px + 2 * plan.layout.halo_px) ** 2
    windows = max(predictor.batch // WINDOW_TILES**2, 1)
    return {
        "frame": {"width": plan.frame.width, "height": plan.frame.height, "downsample": plan.frame.downsample},
        "mpp": plan.bundle.spec.mpp,
        "tiles": plan.tile_counts(),
        "blocks": {"grid": int(np.prod(plan.grid.block_shape)), "active": active},
        "tissue_mm2": round(plan.looked_at_mm2, 4),
        "memory_bytes": int(
            BASE_BYTES
            + windows * window * WINDOW_BYTES_PER_PIXEL
            + 2 * plan.grid.block_px**2 * MAPS_BYTES_PER_PIXEL
            + min(workers, MOST_DECODERS) * plan.grid.block_px**2 * DECODE_BYTES_PER_PIXEL
        ),
        "disk_bytes": disk_bytes(plan),
        "device": predictor.numerics["device"],
        "tiles_per_second": round(rate, 1),
        "seconds": round(START_S + tissue / rate, 1),
    }


def disk_bytes(plan: RunPlan) -> int:
    """Forecast the space that a run takes while it works."""
    active, columns = len(plan.layout.active_blocks()), plan.grid.block_shape[1]
    # Maps of a row of blocks and its neighbours wait at once.
    a_pixel = min(active, 2 * columns + 3) * MAPS_BYTES_PER_PIXEL + active * RESULT_BYTES_PER_PIXEL
    return int(a_pixel * plan.grid.block_px**2)


def _tiles_per_second(plan: RunPlan, predictor: Predictor) -> float:
    """Time the second of two forward passes; the first one warms up."""
    side = WINDOW_TILES * plan.grid.tile_px + 2 * plan.layout.halo_px
    windows = max(predictor.batch // WINDOW_TILES**2, 1)
    blank = np.full((windows, side, side, 3), 240, np.uint8)
    predictor.predict(blank)
    started = time.perf_counter()
    predictor.predict(blank)
    return windows * WINDOW_TILES**2 / (time.perf_counter() - started)
