"""The planes of a window, and what they say over the pixels of each object: probability and stains.

Sums are whole numbers, hence exact: the same nucleus measures the same in whichever window it was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.nuclei import expand_ranges
from wsiseg.stains import STAINS, STEPS_PER_OD

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.instances.objects import Objects

    Floats = npt.NDArray[np.float64]
    Sums = npt.NDArray[np.int64]

_RUNS_AT_ONCE = 1 << 12
"""Runs whose pixels are looked at together: their places stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """What is known of each pixel of a window."""

    maps: npt.NDArray[np.uint8]
    """(channels, h, w): the head's maps; the first is the probability of foreground, 255 = 1.0."""
    stains: npt.NDArray[np.uint8]
    """(2, h, w): as `wsiseg.stains.as_planes` gives them."""


def measure_planes(objects: Objects, planes: Planes, window: Box) -> dict[str, Floats]:
    """Measure at least one object by the planes of the window that it was found in.

    The standard deviation is that of a sample (n - 1), as QuPath's is; 0 for a single pixel.
    """
    parts = (slice(i, i + _RUNS_AT_ONCE) for i in range(0, len(objects.runs), _RUNS_AT_ONCE))
    sums = np.concatenate([_sums(objects.runs[part], planes, window) for part in parts], axis=1)
    count, probability, *stains = np.add.reduceat(sums, objects.starts, axis=1)
    measured = {"probability": probability / count / 255}
    for stain, total, squares in zip(STAINS, stains[::2], stains[1::2], strict=True):
        spread = (count * squares - total**2) / (count * np.maximum(count - 1, 1))
        measured[f"{stain}_od_mean"] = total / count / STEPS_PER_OD
        measured[f"{stain}_od_std"] = np.sqrt(spread) / STEPS_PER_OD
    return measured


def _sums(runs: npt.NDArray[np.int32], planes: Planes, window: Box) -> Sums:
    """Give of each run, in columns: its pixels, the sum of their probability, and of each stain and its square."""
    lengths = (runs[:, 3] - runs[:, 2]).astype(np.intp)
    y = runs[:, 1].astype(np.intp) - window.y
    pixels = expand_ranges(y * window.width + runs[:, 2] - window.x, lengths)
    first = np.cumsum(lengths) - lengths
    sums = np.empty((2 + 2 * len(STAINS), len(runs)), np.int64)
    sums[0] = lengths
    sums[1] = np.add.reduceat(planes.maps[0].reshape(-1)[pixels], first, dtype=np.int64)
    for row, plane in zip(range(2, len(sums), 2), planes.stains, strict=True):
        values = plane.reshape(-1)[pixels]
        sums[row] = np.add.reduceat(values, first, dtype=np.int64)
        sums[row + 1] = np.add.reduceat(np.square(values, dtype=np.uint16), first, dtype=np.int64)
    return sums
