"""Outlines of nuclei as a page draws them: flat arrays, tile by tile. Knows no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

COLUMNS = ("id", "class_value", "probability", "area_um2", "centroid_x", "centroid_y", "geometry")
"""Columns of the table that outlines are made from."""
MOST_NUCLEI = 20_000
"""In an answer; a page that shows tiles at a legible size never has so many in one."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """n nuclei, sorted by the tile that holds their centroid."""

    place: npt.NDArray[np.int64]
    """(n, 2): column and row of the tile."""
    id: npt.NDArray[np.uint32]
    class_value: npt.NDArray[np.uint8]
    area_um2: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]
    first: npt.NDArray[np.uint32]
    """(n + 1): where each nucleus' vertices begin in `vertices`, and their number."""
    vertices: npt.NDArray[np.float32]
    """(m, 2): x and y, level-0 px from the top-left corner of the tile; the first vertex is not repeated."""

    @classmethod
    def of_table(cls, table: Any, side_px: int) -> Outlines:  # noqa: ANN401 - pyarrow has no types
        """Decode rows with `COLUMNS`; of a polygon with holes, its outer ring."""
        centroids = np.stack([table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()], axis=1)
        place = np.floor(centroids / side_px).astype(np.int64)
        order = np.lexsort(place.T)
        place = place[order]
        rings = shapely.get_exterior_ring(shapely.from_wkb(table["geometry"].to_numpy()[order]))
        points, owner = shapely.get_coordinates(rings, return_index=True)
        ends = np.flatnonzero(np.diff(owner, append=-1))  # the vertex that closes each ring
        points, owner = np.delete(points, ends, axis=0), np.delete(owner, ends)
        first = np.searchsorted(owner, np.arange(len(order) + 1)).astype(np.uint32)
        plain = {name: table[name].to_numpy()[order] for name in ("id", "class_value", "area_um2", "probability")}
        return cls(
            place=place, first=first, vertices=(points - place[owner] * side_px).astype(np.float32), **plain
        )

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        plain = self.id.nbytes + self.class_value.nbytes + self.area_um2.nbytes + self.probability.nbytes
        return plain + self.place.nbytes + self.first.nbytes + self.vertices.nbytes

    def of_tile(self, column: int, row: int) -> Outlines:
        """Give the nuclei of one tile."""
        rows = np.flatnonzero((self.place == (column, row)).all(axis=1))
        start, stop = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        return self._part(start, stop)

    def _part(self, start: int, stop: int) -> Outlines:
        first = self.first[start : stop + 1]
        return Outlines(
            self.place[start:stop],
            self.id[start:stop],
            self.class_value[start:stop],
            self.area_um2[start:stop],
            self.probability[start:stop],
            first - first[0],
            self.vertices[int(first[0]) : int(first[-1])],
        )


def encode(parts: Sequence[Outlines]) -> bytes:
    """Write the nuclei of one tile as a page reads them, without parsing: little-endian arrays after each other.

    ::

        uint32   n, the nuclei in this answer
        uint32   nuclei of the tile that are left out because they are too many
        uint32   m, the vertices
        uint32   id[n]
        uint32   first[n + 1]         where each nucleus' vertices begin; the last is m
        float32  area_um2[n]
        float32  probability[n]
        float32  vertices[m][2]       x, y in level-0 px from the tile's top-left corner; rings are not closed
        uint8    class_value[n]

    No differences and no rounding: on the loopback bytes are cheap, and a `Float32Array` over the answer is ready
    to be drawn.
    """
    total = sum(len(part.id) for part in parts)
    kept: list[Outlines] = []
    room = MOST_NUCLEI
    for part in parts:
        kept.append(part._part(0, min(len(part.id), room)))
        room -= len(kept[-1].id)
    starts = np.cumsum([0, *(len(part.vertices) for part in kept)])
    first = [
        part.first[:-1].astype(np.uint32) + np.uint32(start) for part, start in zip(kept, starts, strict=False)
    ]
    n = MOST_NUCLEI - room
    arrays: list[tuple[str, list[Any]]] = [
        ("<u4", [[n, total - n, starts[-1]]]),
        ("<u4", [part.id for part in kept]),
        ("<u4", [*first, [starts[-1]]]),
        ("<f4", [part.area_um2 for part in kept]),
        ("<f4", [part.probability for part in kept]),
        ("<f4", [part.vertices.reshape(-1) for part in kept]),
        ("<u1", [part.class_value for part in kept]),
    ]
    return b"".join(np.asarray(each).astype(kind).tobytes() for kind, some in arrays for each in some)
