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

START_S = 4.0
"""Measured: imports, loading the network, tissue and the last pages of a small run."""
TILE_S, MM2_S = 0.006, 1.7
"""Measured: processor time beside the network, a tile and a mm2 of breast tissue full of nuclei, for reading,
decoding, tables and masks; whole runs of both shipped models on a slide of 20480 px."""
BASE_BYTES = 450_000_000
"""Python, torch and the other libraries; a 20480 px slide is forecast 2.05 GB, measured 1.96 to 2.09."""
WINDOW_BYTES_PER_PIXEL = 510
"""Measured: activations of the default network in half precision; estimated: twice as many in single."""
DECODE_BYTES_PER_PIXEL = 11
"""Measured: decoding and outlining a block with its margin, each thread."""
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
    widths = 2 if predictor.numerics["dtype"] == "float32" else 1
    return {
        "frame": {"width": plan.frame.width, "height": plan.frame.height, "downsample": plan.frame.downsample},
        "mpp": plan.bundle.spec.mpp,
        "tiles": plan.tile_counts(),
        "blocks": {"grid": int(np.prod(plan.grid.block_shape)), "active": active},
        "tissue_mm2": round(plan.looked_at_mm2, 4),
        "memory_bytes": int(
            BASE_BYTES
            + windows * window * WINDOW_BYTES_PER_PIXEL * widths
            + 2 * plan.grid.block_px**2 * MAPS_BYTES_PER_PIXEL
            + min(workers, MOST_DECODERS) * plan.grid.block_px**2 * DECODE_BYTES_PER_PIXEL
        ),
        "disk_bytes": disk_bytes(plan),
        "device": predictor.numerics["device"],
        "tiles_per_second": round(rate, 1),
        "seconds": round(START_S + _seconds(plan, tissue / rate, shared=predictor.numerics["threads"] > 0), 1),
    }


def _seconds(plan: RunPlan, network: float, *, shared: bool) -> float:
    """Forecast the time between start and end, of the network's and what else there is to do.

    Parameters
    ----------
    shared
        Whether the network computes on the cores that do the rest.
    """
    beside = (int(plan.wanted.sum()) * TILE_S + plan.looked_at_mm2 * MM2_S) / usable_cores()
    return network + beside if shared else max(network, beside)


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
