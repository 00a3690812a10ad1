"""From probability and core to one label per nucleus, by rules that look no further than a stated distance.

1. The mask is where the probability reaches its threshold; the core is smoothed a little.
2. Seeds are found in the core (`wsiseg.models.heads.seeds`).
3. Each mask pixel climbs the core, always to its highest neighbour, for a limited number of steps. Where it meets
   a seed it belongs to that seed, so borders follow the core's valleys.
4. Pixels that climbed a hill without a seed join a neighbouring nucleus, layer by layer, for at most `spread_px`
   layers; what is left and large enough becomes nuclei of its own.
5. What is too small or too large for a nucleus goes.

Climbing and spreading go from pixel to 4-neighbour, so each label is one 4-connected component by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsiseg.models.heads.components import Components, Foreground, Runs, Sizes, numbered
from wsiseg.models.heads.hills import Hills
from wsiseg.models.heads.seeds import SeedRule, find_seeds
from wsiseg.models.heads.settings import limited, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from wsiseg.geometry import Box
    from wsiseg.labels import Labels

_FINE = 128
"""The core is smoothed in 1/128 of its 8-bit steps, so that slopes have no flat steps to get stuck on; it still
fits into 16 bits."""

_KERNEL_SUM = 64
"""The smoothing's weights are whole 64ths: float32 holds their sums exactly, so the bits are the same wherever the
window lies and whatever instructions OpenCV uses."""


@dataclass(frozen=True, slots=True)
class GrowthSettings:
    """Thresholds of the decoding, in pixels of the maps and on the maps' scale of 0 to 1."""

    probability: float = limited(0.5, 0.05, 0.95)
    """From here on a pixel is nucleus."""
    core_low: float = limited(0.2, 0.02, 0.9)
    """Lowest level that can be a seed."""
    core_high: float = limited(0.8, 0.1, 0.98)
    """Highest level at which touching nuclei are parted."""
    core_levels: int = limited(4, 1, 16)
    """Number of levels from the lowest to the highest."""
    blur_radius_px: int = limited(2, 0, 15)
    """Radius of the Gaussian kernel over the core: it closes pits, and small valleys with them."""
    prominence: float = limited(0.05, 0.0, 0.5)
    """How far two cores must rise above the level that parts them."""
    seed_area_um2: float = limited(0.5, 0.0, 50.0)
    """Smallest area of a seed at its level."""
    seed_extent_px: int = limited(80, 8, 256)
    """Longest side of a seed."""
    climb_doublings: int = limited(5, 0, 8)
    """A pixel's seed is at most 2 ** climb_doublings steps away."""
    spread_px: int = limited(16, 0, 64)
    """Most layers that a nucleus gains from hills without a seed."""
    min_area_um2: float = limited(5.0, 0.0, 500.0)
    """Smallest nucleus."""
    max_extent_px: int = limited(120, 8, 512)
    """Longest side of a nucleus' bounding box; what is larger is no nucleus."""

    def __post_init__(self) -> None:
        if self.core_low > self.core_high:
            raise ValueError("head setting core_low is above core_high")


class Growth:
    """The decoding for one bundle: settings brought to the units of its maps."""

    def __init__(self, values: Mapping[str, float], mpp: float) -> None:
        self.settings = settings = read_settings(GrowthSettings, values)
        self._threshold = level_of(settings.probability)
        self._min_area_px = settings.min_area_um2 / mpp**2
        levels = np.linspace(settings.core_low, settings.core_high, settings.core_levels)
        self._seeds = SeedRule(
            levels=[round(float(level) * 255 * _FINE) for level in levels],
            prominence=round(settings.prominence * 255 * _FINE),
            min_area_px=settings.seed_area_um2 / mpp**2,
            max_extent_px=settings.seed_extent_px,
        )

    @property
    def margin_px(self) -> int:
        """How much a window must be larger than a block to give all nuclei that touch the block exactly.

        A nucleus reaches at most `max_extent_px` beyond the block. Whether its outermost pixel belongs to it
        or to a neighbour is known from what lies within `spread_px` layers; each of those pixels has its seed
        at most `2 ** climb_doublings` steps further; whether that is a seed is known within `seed_extent_px` of
        it. The smoothing and the neighbours looked at need a few pixels more.
        """
        s = self.settings
        reach_px = s.spread_px + (1 << s.climb_doublings) + s.seed_extent_px + s.blur_radius_px + 2
        return s.max_extent_px + reach_px

    def labels(
        self, probability: npt.NDArray[np.uint8], core: npt.NDArray[np.uint8], area: Box | None = None
    ) -> Labels:
        """Give the labels of (h, w) maps; see `Head.decode`."""
        # Nothing goes from one component of the mask to another, so those beside the area are not needed.
        foreground = Foreground.of(probability, self._threshold, area)
        heights = _heights(core, foreground, self.settings.blur_radius_px)
        settings = self.settings
        hills = Hills(foreground, heights)
        seeds = find_seeds(hills, self._seeds)
        found = hills.climb(seeds, settings.climb_doublings)
        found = hills.spread(found, settings.spread_px)
        found = self._with_unseeded(found, foreground)
        runs = Runs.of(found)
        fits = Sizes.of(runs, foreground).within(self._min_area_px, settings.max_extent_px)
        return foreground.labels(runs.renamed(numbered(fits)))

    def _with_unseeded(self, labels: npt.NDArray[np.int32], foreground: Foreground) -> npt.NDArray[np.int32]:
        """Make nuclei of the mask's parts that no seed has reached: small and faint ones have no core."""
        runs = Components.of(foreground.inside & (labels == 0), foreground).runs
        fits = Sizes.of(runs, foreground).within(self._min_area_px, self.settings.max_extent_px)
        names = np.where(fits, labels.max() + numbered(fits), 0).astype(np.int32)
        out: npt.NDArray[np.int32] = labels + runs.renamed(names).listed(len(labels))
        return out


def level_of(share: float) -> int:
    """Turn a threshold between 0 and 1 into the lowest 8-bit value that reaches it."""
    return int(np.ceil(share * 255))


def _heights(core: npt.NDArray[np.uint8], foreground: Foreground, radius_px: int) -> npt.NDArray[np.uint16]:
    """Give the smoothed core of each listed pixel, 0 for the background."""
    width = foreground.shape[1]
    kernel = gaussian_kernel(radius_px)
    across, down = kernel / _KERNEL_SUM, kernel * (_FINE / _KERNEL_SUM)
    heights = np.zeros(len(foreground.flat), np.uint16)
    for rows, listed in foreground.strips():
        if listed.start == listed.stop:
            continue
        first = max(rows.start - radius_px, 0)
        around = core[first : rows.stop + radius_px]
        smooth = np.empty((len(around), width), np.int16)
        # Halves are rounded up: less than a half is no closer than the last digit of a product.
        cv2.sepFilter2D(around, cv2.CV_16S, across, down, dst=smooth[:, 1:-1], delta=_FINE / _KERNEL_SUM**2 / 2)
        heights[listed] = smooth.ravel().take(foreground.flat[listed] - (first + 1) * width)
    # +1: inside the mask even a core of 0 is higher than the background.
    return (heights + np.uint16(1)) * foreground.inside


def gaussian_kernel(radius_px: int) -> npt.NDArray[np.float32]:
    """Give OpenCV's Gaussian kernel of a radius in whole 64ths, times 64; up to a radius of 3 it is the same."""
    weights = cv2.getGaussianKernel(2 * radius_px + 1, 0).ravel() * _KERNEL_SUM
    kernel: npt.NDArray[np.float32] = np.rint(weights).astype(np.float32)
    kernel[radius_px] += _KERNEL_SUM - kernel.sum()
    return kernel
