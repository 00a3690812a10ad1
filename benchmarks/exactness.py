"""Is a run exact? Duplicates, nuclei cut along block lines, and one labelling of the whole slide at once.

    wsiseg run SLIDE -o RUN --tissue none --keep-work
    python benchmarks/exactness.py SLIDE RUN

Needs memory for the whole slide's maps (about 30 bytes a pixel), so it is for slides up to some 10,000 px.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import shapely

from wsiseg.geometry import Box
from wsiseg.instances import Decoding, Planes, decode_block
from wsiseg.models.bundle import load_bundle
from wsiseg.run.plan import plan_run, slide_of
from wsiseg.run.settings import RunSettings
from wsiseg.run.stores import MapStore
from wsiseg.slides import open_slide, read_box
from wsiseg.stains import STAINS

STRIP_PX = 512
"""Half the height of the strip around a block line that the network sees in one forward pass."""


def polygons_of(run: Path) -> np.ndarray:
    """All polygons of a run, level 0."""
    return shapely.from_wkb(pq.read_table(run / "nuclei.parquet")["geometry"].to_numpy(zero_copy_only=False))


def overlapping_pairs(polygons: np.ndarray, least_iou: float = 0.5) -> int:
    """Pairs of nuclei that are the same nucleus twice."""
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    once = first < second
    first, second = polygons[first[once]], polygons[second[once]]
    common = shapely.area(shapely.intersection(first, second))
    return int((common / (shapely.area(first) + shapely.area(second) - common) > least_iou).sum())


def cut_along(polygons: np.ndarray, lines: list, least_px: float = 3.0) -> int:
    """Nuclei whose outline runs along a block line for more than `least_px`."""
    edges = shapely.boundary(polygons)
    near = shapely.union_all(lines).buffer(0.6)
    straight = shapely.length(shapely.intersection(edges, near))
    crossing = shapely.intersects(polygons, shapely.union_all(lines).buffer(1.5))
    return int((crossing & (straight > least_px + 2.4)).sum())


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--network", action="store_true", help="also one forward pass over strips on block lines")
    args = parser.parse_args()
    summary = json.loads((args.run / "summary.json").read_text())
    bundle = load_bundle(summary["model"]["name"])
    settings = RunSettings(slide=args.slide, tissue=summary["settings"]["tissue"])
    with closing(slide_of(settings)) as slide:
        plan = plan_run(settings, slide)
    found = polygons_of(args.run)
    head = bundle.head()
    store = MapStore(args.run / "work", plan.layout, len(head.maps))
    classes = tuple(one.value for one in bundle.spec.classes)
    whole = Decoding(head.decode, plan.frame, plan.info.area, bundle.spec.mpp, classes)
    expected = decode_block(store.read(plan.frame.box), plan.frame.box, plan.frame.box, whole).nuclei.polygon
    same = {shapely.to_wkb(p) for p in found} == {shapely.to_wkb(p) for p in expected}
    lines = block_lines(plan)
    result = {
        "nuclei": len(found),
        "duplicates_iou_over_0.5": overlapping_pairs(found),
        "one_labelling_of_the_whole_slide": len(expected),
        "identical_to_it": same,
        "outlines_along_block_lines": cut_along(found, lines),
        "the_same_for_the_whole_slide": cut_along(expected, lines),
    }
    if args.network:
        result["one_forward_pass"] = compare_forward(plan, found, whole)
    print(json.dumps(result, indent=2))


def block_lines(plan) -> list:  # noqa: ANN001
    """The inner lines between blocks, level 0."""
    side, frame = plan.grid.block_px, plan.frame
    down = [[(0, y), (frame.width, y)] for y in range(side, frame.height, side)]
    across = [[(x, 0), (x, frame.height)] for x in range(side, frame.width, side)]
    return [shapely.LineString(frame.to_level0(np.array(ends))) for ends in down + across]


def compare_forward(plan, found: np.ndarray, whole: Decoding) -> dict[str, int]:  # noqa: ANN001
    """One forward pass over a strip around the first horizontal block line, against the run's nuclei there."""
    from wsiseg.predict import TorchPredictor

    predictor = TorchPredictor(plan.bundle, "cpu")
    y = plan.grid.block_px
    strip = Box(0, y - STRIP_PX, plan.frame.width // 32 * 32, 2 * STRIP_PX)
    slide = open_slide(plan.settings.slide)
    maps = predictor.predict(read_box(slide, plan.frame, strip)[None])[0]
    slide.close()
    # The strip's own edges are artificial: look at its inner half.
    inner = Box(0, y - STRIP_PX // 2, strip.width, STRIP_PX)
    planes = Planes(maps, np.zeros((len(STAINS), *strip.shape), np.uint8))
    expected = decode_block(planes, strip, inner, whole).nuclei.polygon
    corners = plan.frame.to_level0(np.array([[inner.x, inner.y], [inner.right, inner.bottom]])).ravel()
    here = found[shapely.contains(shapely.box(*corners), shapely.centroid(found))]
    return {
        "nuclei_near_the_line": len(expected),
        "in_the_run": len(here),
        "matched_iou_over_0.5": matches(here, expected),
    }


def matches(one: np.ndarray, other: np.ndarray) -> int:
    """Nuclei of one set with a partner of IoU over 0.5 in the other; such a partner is the only one."""
    first, second = shapely.STRtree(other).query(one, predicate="intersects")
    common = shapely.area(shapely.intersection(one[first], other[second]))
    union = shapely.area(one[first]) + shapely.area(other[second]) - common
    return int((common / union > 0.5).sum())


if __name__ == "__main__":
    main()
