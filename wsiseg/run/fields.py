"""Which pieces of the slide the report shows at full zoom: some at random, the densest, the least certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from wsiseg.export.field import FIELD_OUTLINE, Field, draw_field
from wsiseg.geometry import Box
from wsiseg.slides.sampling import read_box
from wsiseg.tiling import BLOCK_TILES, Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from wsiseg.export.field import Outlined
    from wsiseg.run.finish import Numbered
    from wsiseg.run.plan import RunPlan
    from wsiseg.run.tally import Tally
    from wsiseg.slides import Slide

    Place = tuple[int, int]
    """Row and column of a field, in fields."""

FIELD_TILES = 2
"""Side of a field, in tiles. Fields lie on a lattice, so that no two overlap."""
OF_EACH = 3
"""Fields of each kind."""
_FEW = 5
"""A field with fewer nuclei says little about how sure the network is."""


def example_fields(plan: RunPlan, slide: Slide, tally: Tally, nuclei: Numbered) -> list[Field]:
    """Draw the fields that the report shows, kind by kind."""
    counts, probability = _per_field(tally.per_tile), _per_field(tally.probability)
    fields = []
    for kind, place in _chosen(_searched(plan), counts, probability):
        side = plan.grid.tile_px * FIELD_TILES
        box = Box(place[1] * side, place[0] * side, side, side).intersection(plan.frame.box)
        found = int(counts[place])
        caption = _caption(plan, box, found, float(probability[place]) / max(found, 1))
        outlined = _outlined(plan, nuclei, box)
        picture = draw_field(read_box(slide, plan.frame, box), outlined, plan.bundle.spec.mpp)
        fields.append(Field(kind, caption, picture))
    return fields


def _per_field(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Add up the tiles of each field."""
    rows, columns = (-(-side // FIELD_TILES) for side in values.shape)
    whole = np.zeros((rows * FIELD_TILES, columns * FIELD_TILES), np.float64)
    whole[: values.shape[0], : values.shape[1]] = values
    summed: npt.NDArray[np.float64] = whole.reshape(rows, FIELD_TILES, columns, FIELD_TILES).sum((1, 3))
    return summed


def _searched(plan: RunPlan) -> npt.NDArray[np.bool_]:
    """Say which fields were searched whole; where none was, which were searched at all."""
    read = plan.wanted.copy()
    for place in plan.lost:
        read[place] = False
    tiles = _per_field(read)
    whole: npt.NDArray[np.bool_] = tiles == FIELD_TILES**2
    return whole if whole.any() else tiles > 0


def _chosen(
    searched: npt.NDArray[np.bool_], counts: npt.NDArray[np.float64], probability: npt.NDArray[np.float64]
) -> Iterator[tuple[str, Place]]:
    """Give each field once, with the first of the reasons to show it; the same run always gives the same."""
    places = np.argwhere(searched)
    found = counts[searched]
    at_random = np.random.default_rng(int(counts.sum())).permutation(len(places))
    densest = np.argsort(-found, kind="stable")
    mean = probability[searched] / np.maximum(found, 1)
    doubtful = np.argsort(mean, kind="stable")
    orders = {
        "Drawn at random": at_random,
        "The densest": densest[found[densest] > 0],
        "The least certain": doubtful[found[doubtful] >= _FEW],
    }
    taken: set[int] = set()
    for kind, order in orders.items():
        some = [number for number in order.tolist() if number not in taken][:OF_EACH]
        taken.update(some)
        yield from ((kind, (int(places[number][0]), int(places[number][1]))) for number in some)


def _caption(plan: RunPlan, box: Box, found: int, probability: float) -> str:
    """Say what a field holds and where it lies."""
    density = found / (box.width * box.height * plan.bundle.spec.mpp**2 / 1e6)
    x, y = np.rint(plan.frame.to_level0(np.array([box.x + box.width / 2, box.y + box.height / 2]))).astype(int)
    sure = f", mean probability {probability:.2f}" if found else ""
    return f"{density:,.0f} nuclei per mm² of picture ({found:,} in all){sure}; centre at x {x:,}, y {y:,}"


def _outlined(plan: RunPlan, nuclei: Numbered, box: Box) -> Iterator[Outlined]:
    """Give the polygons that touch a box, in pixels of the box, and the colours of their classes."""
    corners = shapely.box(*plan.frame.to_level0(np.array([[box.x, box.y], [box.right, box.bottom]])).ravel())
    found = [nuclei.store.read_outlines(block) for block in _blocks_near(plan, box) if block in nuclei.first_ids]
    polygons = np.concatenate([np.empty(0, object), *(polygon for polygon, _ in found)])
    values = np.concatenate([np.empty(0, np.uint8), *(value for _, value in found)])
    near = shapely.intersects(polygons, corners)
    moved = shapely.transform(polygons[near], lambda xy: plan.frame.from_level0(xy) - (box.x, box.y))
    classes = plan.bundle.spec.classes
    for one in classes:
        yield moved[values[near] == one.value], one.color if len(classes) > 1 else FIELD_OUTLINE


def _blocks_near(plan: RunPlan, box: Box) -> list[Block]:
    """Give the blocks whose nuclei may reach into a box: none is larger than a tile."""
    side = plan.grid.tile_px
    around, block_px = box.grown(side).intersection(plan.frame.box), side * BLOCK_TILES
    return [
        Block(row, column)
        for row in range(around.y // block_px, -(-around.bottom // block_px))
        for column in range(around.x // block_px, -(-around.right // block_px))
    ]
