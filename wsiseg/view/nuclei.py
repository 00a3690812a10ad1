"""The nuclei of a run by place: which row groups of the table a tile needs, and no others. Knows no HTTP.

Tiles form a lattice over level 0 that begins at (0, 0). A nucleus belongs to the tile that holds its centroid, so
each is in one tile; its outline may reach into the next.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from wsiseg import fsio
from wsiseg.errors import DamageError
from wsiseg.view.outlines import COLUMNS, Outlines, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    Watch = Callable[[npt.NDArray[np.float64], npt.NDArray[np.uint8]], None]

TILE_UM = 256.0
"""Side of a tile, about: some hundred nuclei."""
LARGEST_CACHE_BYTES = 128 * 2**20
"""Of decoded row groups; one of 10,000 nuclei takes about 5 MB."""
_GROUPS_AT_ONCE = 64
"""Row groups of which the index reads a few columns together."""
_SCALED = ("area_um2", "probability")
"""Columns that colour nuclei; their 2nd and 98th percentiles are where the colours end."""
_HIDDEN = ("geometry", "bbox", "class_value")
"""Columns that are no measurements for people."""


class NucleiIndex:
    """The table of one run; for any number of threads.

    Parameters
    ----------
    path
        `nuclei.parquet`.
    mpp
        um per pixel of level 0.
    watch
        Called with (n, 2) level-0 centroids and (n,) class values, until it had all.

    Raises
    ------
    DamageError
        E-DAMAGED: this is not a table that wsiseg writes.
    """

    def __init__(self, path: Path, mpp: float, watch: Watch) -> None:
        self._path = path
        self.side_px = 2 ** max(round(np.log2(TILE_UM / mpp)), 4)
        """Side of a tile, level-0 px: a power of two, near `TILE_UM`."""
        self._tiles: dict[tuple[int, int], tuple[int, ...]] = {}
        self._ids: list[tuple[int, int]] = []
        self.class_counts: npt.NDArray[np.int64] = np.zeros(256, np.int64)
        with _table(path), pq.ParquetFile(path) as file:
            self._metadata = file.metadata
            self.ranges = self._build(file, watch)
        self.total: int = self._metadata.num_rows
        self._locks = [threading.Lock() for _ in range(self._metadata.num_row_groups)]
        self._cache = _Cache(LARGEST_CACHE_BYTES)

    def tile(self, column: int, row: int) -> bytes:
        """Give the nuclei of a tile as `outlines.encode` writes them; none where there are none."""
        groups = self._tiles.get((column, row), ())
        return encode([self._group(index).of_tile(column, row) for index in groups])

    def nucleus(self, number: int) -> dict[str, Any] | None:
        """Give all measurements of the nucleus of an id, and its `bbox` in level-0 pixels; None without one."""
        for group, (first, last) in enumerate(self._ids):
            if first <= number <= last:
                table = self._read(group)
                found = np.flatnonzero(table["id"].to_numpy() == number)
                if len(found):
                    row = table.slice(int(found[0]), 1).to_pylist()[0]
                    return _for_people(row)
        return None

    def _build(
        self,
        file: Any,  # noqa: ANN401 - pyarrow has no types
        watch: Watch,
    ) -> dict[str, tuple[float, float]]:
        """Read what places nuclei, all row groups once; give the ranges of the columns that colour them."""
        tiles: dict[tuple[int, int], list[int]] = {}
        scaled: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in _SCALED}
        columns = ["id", "class_value", "centroid_x", "centroid_y", *_SCALED]
        for begin in range(0, file.num_row_groups, _GROUPS_AT_ONCE):
            groups = range(begin, min(begin + _GROUPS_AT_ONCE, file.num_row_groups))
            table = file.read_row_groups(list(groups), columns=columns)
            lengths = [file.metadata.row_group(group).num_rows for group in groups]
            centroids = np.stack([table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()], axis=1)
            values = table["class_value"].to_numpy()
            watch(centroids, values)
            places, ids = np.floor(centroids / self.side_px).astype(np.int64), table["id"].to_numpy()
            for group, stop in zip(groups, np.cumsum(lengths).tolist(), strict=True):
                rows = slice(stop - lengths[group - begin], stop)
                for place in np.unique(places[rows], axis=0).tolist():
                    tiles.setdefault((place[0], place[1]), []).append(group)
                self._ids.append((int(ids[rows].min(initial=2**32 - 1)), int(ids[rows].max(initial=0))))
            self.class_counts += np.bincount(values, minlength=256)
            for name, found in scaled.items():
                found.append(table[name].to_numpy())
        self._tiles = {place: tuple(groups) for place, groups in tiles.items()}
        return {name: _range(values) for name, values in scaled.items()}

    def _group(self, index: int) -> Outlines:
        """Decode a row group, once however many tiles ask for it at a time."""
        with self._locks[index]:
            found = self._cache.get(index)
            if found is None:
                table = self._read(index, COLUMNS)
                with _table(self._path):
                    found = Outlines.of_table(table, self.side_px)
                self._cache.put(index, found)
            return found

    def _read(self, group: int, columns: tuple[str, ...] | None = None) -> Any:  # noqa: ANN401 - pyarrow
        # A file of one's own for each read: pyarrow's are for one thread. The footer is not parsed again.
        with _table(self._path), pq.ParquetFile(self._path, metadata=self._metadata) as file:
            return file.read_row_group(group, columns=columns and list(columns))


class _Cache:
    """The row groups that were used last, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._held: OrderedDict[int, Outlines] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: int) -> Outlines | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: int, value: Outlines) -> None:
        with self._lock:
            self._held[key] = value
            self._bytes += value.nbytes
            while self._bytes > self._most_bytes and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes


@contextmanager
def _table(path: Path) -> Iterator[None]:
    """Let what pyarrow cannot read leave as an error of ours."""
    try:
        with fsio.explained(path):
            yield
    except (pa.ArrowException, KeyError, shapely.errors.ShapelyError) as error:
        what, fix = f"the table of nuclei cannot be read ({error})", "see `wsiseg verify`"
        raise DamageError("E-DAMAGED", what, where=path, fix=fix) from error


def _range(values: list[npt.NDArray[np.float32]]) -> tuple[float, float]:
    found = np.concatenate(values) if values else np.empty(0, np.float32)
    if not len(found):
        return 0.0, 1.0
    low, high = np.percentile(found, (2, 98)).tolist()
    return low, high


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in _HIDDEN}
    return {"measurements": shown, "bbox": list(row["bbox"].values())}
