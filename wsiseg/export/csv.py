"""Nuclei as CSV: one line a nucleus with its measurements, for R, Excel and everything else; no outlines.

UTF-8, comma, a point for decimals, names of columns in the first line. A format without metadata: that coordinates
are level-0 pixels of the slide stands in the documentation alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyarrow import csv

from wsiseg import fsio
from wsiseg.errors import printable
from wsiseg.export.table import as_plain_batch, plain_schema

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsiseg.export import ExportHeader
    from wsiseg.models.bundle import ClassSpec
    from wsiseg.nuclei import Nuclei

_FORMULA = ("=", "+", "-", "@")


def export_csv(batches: Iterable[Nuclei], total: int, stem: Path, header: ExportHeader) -> list[Path]:
    """Write nuclei as CSV; see `wsiseg.export.Exporter`."""
    path = stem.with_name(stem.name + ".csv")
    classes = [_harmless(one) for one in header.classes]
    schema = plain_schema(classes)
    rows = 0
    with (
        fsio.explained(path),
        fsio.open_new(fsio.partial_name(path)) as file,
        csv.CSVWriter(file, schema, write_options=csv.WriteOptions(quoting_style="needed")) as writer,
    ):
        for nuclei in batches:
            writer.write_batch(as_plain_batch(nuclei, classes, schema))
            rows += len(nuclei)
    if rows != total:
        raise ValueError(f"{total} nuclei were announced, but {rows} came")
    return [path]


def _harmless(one: ClassSpec) -> ClassSpec:
    """Keep a class' name in its line, and let no spreadsheet compute it."""
    name = printable(one.name)
    return replace(one, name=f"'{name}" if name.startswith(_FORMULA) else name)
