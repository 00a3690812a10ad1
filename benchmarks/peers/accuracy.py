"""Which nuclei of the whole image a tool found, and which it wrote twice: polygons against polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow.parquet as pq
import shapely

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Polygons = npt.NDArray[np.object_]

SAME_IOU = 0.5
"""Above it a nucleus can match only one of a set that does not overlap itself."""


def read_nuclei(path: Path) -> Polygons:
    """Read the polygons, in level-0 pixels, of a run's table or of a peer's GeoJSON."""
    if path.suffix == ".parquet":
        polygons = shapely.from_wkb(pq.read_table(path, columns=["geometry"])["geometry"].to_numpy())
    else:
        features = orjson.loads(path.read_bytes())["features"]
        polygons = shapely.from_geojson([orjson.dumps(feature["geometry"]) for feature in features])
    return np.asarray(shapely.make_valid(polygons), object)


def share_found(reference: Polygons, nuclei: Polygons) -> float:
    """Give the share of the reference's nuclei that have a nucleus of their own with IoU above 0.5."""
    return len(np.unique(_same(reference, nuclei)[0])) / len(reference)


def duplicates(nuclei: Polygons) -> int:
    """Count the pairs of nuclei that are the same one: IoU above 0.5."""
    one, other = _same(nuclei, nuclei)
    return int((one < other).sum())


def _same(some: Polygons, others: Polygons) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Give the numbers of all pairs with IoU above 0.5."""
    one, other = shapely.STRtree(others).query(some, predicate="intersects")
    shared = shapely.area(shapely.intersection(some[one], others[other]))
    union = shapely.area(some)[one] + shapely.area(others)[other] - shared
    same = shared > SAME_IOU * union
    return one[same], other[same]
