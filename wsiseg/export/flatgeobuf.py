"""Nuclei as FlatGeobuf, which QGIS and web maps read by place; GDAL writes it, which the extra `export` brings.

Features go to the disk as they come, but GDAL keeps the box of each until the end, for the file's index: about 150
bytes a nucleus.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from wsiseg import fsio
from wsiseg.errors import ResourceError, SettingsError
from wsiseg.export.table import as_plain_batch, plain_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from wsiseg.export import ExportHeader
    from wsiseg.nuclei import Nuclei


def export_flatgeobuf(batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader) -> list[Path]:
    """Write nuclei as FlatGeobuf; see `wsiseg.export.Exporter`.

    Raises
    ------
    SettingsError
        E-USAGE: the extra is not installed.
    """
    write_arrow = _gdal()
    path = stem.with_name(stem.name + ".fgb")
    # GDAL takes only names that end in .fgb, and lays a file of its own beside them.
    folder = fsio.partial_name(path.with_name(path.name + ".gdal"))
    source = _Source(batches, header)
    fsio.remove(folder)
    try:
        with fsio.explained(path), source.telling(path):
            folder.mkdir()
            write_arrow(
                pa.RecordBatchReader.from_batches(source.schema, source.record_batches()),
                folder / path.name,
                layer="nuclei",
                driver="FlatGeobuf",
                geometry_name="geometry",
                geometry_type="Polygon",
                layer_metadata={"wsiseg": orjson.dumps(header.about_level0()).decode()},
            )
            fsio.rename(folder / path.name, fsio.partial_name(path))
    finally:
        fsio.remove(folder)
    if source.rows != total:
        raise ValueError(f"{total} nuclei were announced, but {source.rows} came")
    return [path]


class _Source:
    """Gives GDAL its record batches, and keeps the error that GDAL would turn into one of its own."""

    def __init__(self, batches: Iterable[Nuclei], header: ExportHeader) -> None:
        self.schema = plain_schema(header.classes, "geometry")
        self.rows = 0
        self._batches = batches
        self._header = header
        self._error: BaseException | None = None

    def record_batches(self) -> Iterator[Any]:
        """Give the nuclei as record batches."""
        try:
            for nuclei in self._batches:
                yield as_plain_batch(nuclei, self._header.classes, self.schema)
                self.rows += len(nuclei)
        except BaseException as error:
            self._error = error
            raise

    @contextmanager
    def telling(self, path: Path) -> Iterator[None]:
        """Let our own error leave as it was, and GDAL's as one of ours."""
        try:
            with warnings.catch_warnings():
                # Pixels of an image have no coordinate reference system.
                warnings.filterwarnings("ignore", message=".*crs.* was not provided", category=UserWarning)
                yield
        except RuntimeError as error:
            if self._error is not None:
                raise self._error from None
            raise ResourceError("E-IO", f"GDAL could not write ({error})", where=path) from error


def _gdal() -> Any:  # noqa: ANN401 - untyped
    """Give GDAL's writer of Arrow streams."""
    try:
        from pyogrio import write_arrow
    except ImportError as error:
        raise SettingsError(
            "E-USAGE", "FlatGeobuf needs GDAL", where="pyogrio", fix="pip install 'wsiseg[export]'"
        ) from error
    return write_arrow
