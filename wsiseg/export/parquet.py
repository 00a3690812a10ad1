"""The canonical table: GeoParquet 1.1, one row a nucleus and one row group a block, so that viewers read parts.

Coordinates are level-0 pixels of the slide, x right and y down; there is no coordinate reference system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson
import pyarrow.parquet as pq
import shapely

from wsiseg import fsio
from wsiseg.errors import OutputError
from wsiseg.export.table import CORNERS, as_record_batch, class_columns, table_schema
from wsiseg.nuclei import MEASUREMENTS, SURROUNDINGS, Nuclei

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from wsiseg.export import ExportHeader
    from wsiseg.models.bundle import ClassSpec


class NucleiParquetWriter:
    """Writes one GeoParquet file, a batch at a time. The caller gives a partial path and publishes the file."""

    def __init__(self, path: Path, header: ExportHeader) -> None:
        self.rows = 0
        """Nuclei written so far."""
        self._path = path
        self._header = header
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        with fsio.explained(path):
            schema = table_schema(header.classes)
            self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["class"])

    def write(self, nuclei: Nuclei) -> None:
        """Append nuclei as one row group; nothing is written for an empty table.

        Raises
        ------
        InternalError
            E-NONFINITE.
        """
        if len(nuclei) == 0:
            return
        batch = as_record_batch(nuclei, self._header.classes)
        bounds = shapely.total_bounds(nuclei.polygon)
        self._bounds[:2] = np.minimum(self._bounds[:2], bounds[:2])
        self._bounds[2:] = np.maximum(self._bounds[2:], bounds[2:])
        with fsio.explained(self._path):
            self._writer.write_batch(batch)
        self.rows += len(nuclei)

    def close(self) -> None:
        """Write the metadata and close the file."""
        metadata = {"geo": orjson.dumps(self._geo()), "wsiseg": orjson.dumps(self._header.about_level0())}
        with fsio.explained(self._path):
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()

    def _geo(self) -> dict[str, Any]:
        """Give the file's metadata after the GeoParquet specification 1.1.0."""
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": None,  # pixels of an image, not places on the earth
            "edges": "planar",
            "orientation": "counterclockwise",
            "covering": {"bbox": {corner: ["bbox", corner] for corner in CORNERS}},
        }
        if self.rows:
            column["bbox"] = self._bounds.tolist()
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:  # the file stays partial; what it lacks does not matter
            self._writer.close()


def export_geoparquet(batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader) -> list[Path]:
    """Write nuclei as GeoParquet; see `wsiseg.export.Exporter`."""
    path = stem.with_name(stem.name + ".parquet")
    with NucleiParquetWriter(fsio.partial_name(path), header) as writer:
        for nuclei in batches:
            writer.write(nuclei)
    if writer.rows != total:
        raise ValueError(f"{total} nuclei were announced, but {writer.rows} came")
    return [path]


def read_about(path: Path) -> tuple[dict[str, Any], int]:
    """Give what a table says of slide and program, and how many nuclei it has."""
    with fsio.explained(path):
        metadata = pq.read_metadata(path)
    return orjson.loads(metadata.metadata[b"wsiseg"]), metadata.num_rows


def read_nuclei(path: Path, classes: Sequence[ClassSpec]) -> Iterator[Nuclei]:
    """Give a table's nuclei, one row group after another, without their runs.

    Parameters
    ----------
    classes
        Those that the table was written with.

    Raises
    ------
    OutputError
        E-OUT-SCHEMA: an older wsiseg wrote it, with fewer columns.
    """
    names = ("id", "class_value", *MEASUREMENTS, *SURROUNDINGS, "centroid_x", "centroid_y")
    shares = class_columns(classes)
    with fsio.explained(path), pq.ParquetFile(path) as file:
        if missing := [name for name in (*names, *shares) if name not in file.schema_arrow.names]:
            raise OutputError(
                "E-OUT-SCHEMA",
                f"the table of an older wsiseg has no {missing[0]}",
                where=path,
                fix="run the slide again, or use the version that wrote it",
            )
        for index in range(file.num_row_groups):
            table = file.read_row_group(index)
            plain: dict[str, Any] = {name: table[name].to_numpy() for name in names}
            probability = np.empty((len(table), len(shares)), np.float32)
            for place, name in enumerate(shares):
                probability[:, place] = table[name].to_numpy()
            yield Nuclei(
                polygon=shapely.from_wkb(table["geometry"].to_numpy()),
                anchor=np.stack((table["anchor_x"].to_numpy(), table["anchor_y"].to_numpy()), axis=1),
                runs=np.empty((0, 4), np.int32),
                class_probability=probability,
                **plain,
            )
