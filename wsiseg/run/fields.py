"""Example fields for the report: small pieces of the slide at full zoom, with their nuclei drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from wsiseg.export.report import draw_field
from wsiseg.geometry import Box
from wsiseg.slides.sampling import read_box
from wsiseg.tiling import BLOCK_TILES, Block

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsiseg.run.finish import Numbered
    from wsiseg.run.plan import RunPlan
    from wsiseg.run.tally import Tally
    from wsiseg.slides import Slide

FIELD_TILES = 2
"""Side of an example field, in tiles."""

_FEW = 5
"""Tiles with fewer nuclei say little about how sure the network is."""


def example_fields(plan: RunPlan, slide: Slide, tally: Tally, nuclei: Numbered) -> list[tuple[str, bytes]]:
    """Give (title, PNG) of up to four fields: densest, typical, least certain, and one drawn at random."""
    chosen: dict[tuple[int, int], str] = {}
    for title, place in _places(tally):
        chosen.setdefault(place, title)
    return [(title, _draw(plan, slide, nuclei, place)) for place, title in chosen.items()]


def _places(tally: Tally) -> list[tuple[str, tuple[int, int]]]:
    """Choose tiles by their nuclei; the same run always gives the same."""
    counts = tally.per_tile
    filled = np.argwhere(counts > 0)
    if len(filled) == 0:
        return []
    by_count = filled[np.argsort(counts[tuple(filled.T)], kind="stable")]
    certainty = np.where(counts >= min(_FEW, counts.max()), tally.mean_probability(), np.inf)
    random = np.random.default_rng(tally.count)
    rows = {
        "Most nuclei": by_count[-1],
        "A typical field": by_count[len(by_count) // 2],
        "Least certain": np.unravel_index(int(np.argmin(certainty)), certainty.shape),
        "Drawn at random": filled[random.integers(len(filled))],
    }
    return [(title, (int(place[0]), int(place[1]))) for title, place in rows.items()]


def _draw(plan: RunPlan, slide: Slide, nuclei: Numbered, place: tuple[int, int]) -> bytes:
    """Draw a field of tiles around one tile, outlines in the model's frame."""
    side = plan.grid.tile_px
    centre = Box(place[1] * side, place[0] * side, side, side)
    box = centre.grown(side * (FIELD_TILES - 1) // 2).intersection(plan.frame.box)
    home = Block(place[0] // BLOCK_TILES, place[1] // BLOCK_TILES)
    polygons = np.concatenate([_polygons(plan, nuclei, block, box) for block in plan.grid.neighbours(home)])
    return draw_field(read_box(slide, plan.frame, box), polygons)


def _polygons(plan: RunPlan, nuclei: Numbered, block: Block, box: Box) -> npt.NDArray[np.object_]:
    """Give a block's polygons that touch a box, in pixels of the box."""
    if block not in nuclei.first_ids:
        return np.empty(0, object)
    corners = plan.frame.to_level0(np.array([[box.x, box.y], [box.right, box.bottom]])).ravel()
    polygons = nuclei.store.read(block).polygon
    near = polygons[shapely.intersects(polygons, shapely.box(*corners))]
    moved: npt.NDArray[np.object_] = shapely.transform(
        near, lambda xy: plan.frame.from_level0(xy) - (box.x, box.y)
    )
    return moved
