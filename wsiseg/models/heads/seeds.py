"""Where nuclei are: one seed per nucleus, from the core map.

The core is cut at a few rising levels. Whatever is connected at a level lies inside something that is connected
at the level below, which makes a tree. Read from the top, a component is *one* seed unless at least two
substantial seeds lie in it: so a large pale nucleus with an uneven core stays one, and a pair of touching nuclei,
whose cores are joined at a low level and part at a higher one, becomes two.

A component larger than the limit never is a seed; what lies in it may be. That makes the rule local: whether a
component within the limit is a seed depends on the component around it at each lower level, as far as those
are within the limit too, and on nothing else.

Most components hold one hill only. Which those are is known from the summits; there no higher level is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.models.heads.components import Components, Runs, Sizes, beginnings, numbered
from wsiseg.nuclei import expand_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from wsiseg.models.heads.hills import Hills


@dataclass(frozen=True, slots=True)
class SeedRule:
    """What makes a seed."""

    levels: Sequence[int]
    """Rising cuts through the core, in the core's units."""
    prominence: int
    """How far a seed's peak must stand above the level that parts it from its neighbour."""
    min_area_px: float
    """Smallest area of a seed at its level."""
    max_extent_px: int
    """Longest side of a seed's bounding box."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """The components at one level; row 0 of the arrays over components is the background."""

    runs: Runs
    """Labelled by component."""
    whole: npt.NDArray[np.bool_]
    """Components that may be a seed by their size."""
    prominent: npt.NDArray[np.bool_]
    """Components that may split the one around them."""
    parent: npt.NDArray[np.int32]
    """The component around each one at the level below; 0 at the lowest level."""


def find_seeds(hills: Hills, rule: SeedRule) -> npt.NDArray[np.int32]:
    """Give the seed of each listed pixel of the core's hills, numbered from 1; 0 for pixels in no seed."""
    cuts = _cuts(hills, rule)
    seeds = [np.zeros(0, np.bool_)] * len(cuts)
    inner = np.zeros(len(cuts[-1].whole), np.int64)  # seeds inside each component, from the levels above
    for level in range(len(cuts) - 1, -1, -1):
        cut = cuts[level]
        split = inner >= 2
        # At the lowest level nothing has to be parted from a neighbour, so prominence is not asked for.
        seeds[level] = ~split & (cut.prominent if level else cut.whole)
        if level:
            found = np.where(split | ~cut.whole, inner, seeds[level])
            inner = np.bincount(cut.parent, weights=found, minlength=len(cuts[level - 1].whole)).astype(np.int64)
            inner[0] = 0
    return _number(cuts, seeds, len(hills.heights))


def _cuts(hills: Hills, rule: SeedRule) -> list[_Cut]:
    """Cut the core at each level, but not what cannot hold two seeds."""
    cuts: list[_Cut] = []
    around: Components | None = None
    foreground, core = hills.foreground, hills.heights
    places: npt.NDArray[np.integer] = np.arange(len(core), dtype=np.int32)
    peaks, reach = _peaks(hills, rule.levels[-1])
    for level, above in zip(rule.levels, (*rule.levels[1:], 0), strict=True):
        components = Components.of(core >= level, foreground, places)
        sizes = Sizes.of(components.runs, foreground)
        parent = np.zeros(len(components) + 1, np.int32)
        if around is not None:
            parent[1:] = around.at(components.first)
        reached = np.zeros(len(parent), np.bool_)
        reached[components.at(places[beginnings(core >= level + rule.prominence)])] = True
        whole = sizes.within(rule.min_area_px, rule.max_extent_px)
        cuts.append(_Cut(components.runs, whole, whole & reached, parent))
        around = components
        # Each seed of the levels above has a peak of its own, so what has too few of them need not be cut again.
        inner = np.bincount(components.at(peaks[reach >= above + rule.prominence]), minlength=len(whole))
        inner[0] = 0
        places, core = _inside(components.runs.renamed(numbered(inner > whole)), hills.heights)
    return cuts


def _peaks(hills: Hills, level: int) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """Give a place of each summit, and its height; those that are connected at a level are one, of any height."""
    high = Components.of(hills.heights >= level, hills.foreground).first
    low = Components.of(hills.summits() & (hills.heights < level), hills.foreground).first
    highest = np.full(len(high), np.iinfo(hills.heights.dtype).max)
    return np.append(low, high), np.append(hills.heights[low], highest)


def _inside(runs: Runs, heights: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.uint16]]:
    """List runs anew, each followed by one more pixel: places, and heights that are 0 beside the runs."""
    length = runs.stop - runs.start
    places = np.append(0, expand_ranges(runs.start, length + 1))
    core = heights.take(places)
    core[0] = 0
    core[np.cumsum(length + 1)] = 0
    return places, core


def _number(cuts: list[_Cut], seeds: list[npt.NDArray[np.bool_]], count: int) -> npt.NDArray[np.int32]:
    """Number the seeds that lie in no other seed, for each listed pixel."""
    found = []
    taken = np.zeros(1, np.bool_)  # components that are a seed or lie in one
    last = 0
    for cut, is_seed in zip(cuts, seeds, strict=True):
        inside = taken[cut.parent]
        own = is_seed & ~inside
        found.append(cut.runs.renamed(np.where(own, last + numbered(own), 0).astype(np.int32)))
        last += int(own.sum())
        taken = inside | own
    return Runs.joined(found).listed(count)
