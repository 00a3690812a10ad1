"""A cohort's table: one row a slide, from what its run directory and the cohort's ledger say of it."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from wsiseg import fsio
from wsiseg.cohort.book import COMPLETE, FAILED, WAITING
from wsiseg.errors import printable
from wsiseg.export.table import column_names
from wsiseg.run.classes import stromal_lymphocytes
from wsiseg.run.folder import PERFORMANCE, SUMMARY
from wsiseg.run.inspect import State, inspect_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wsiseg.cohort.book import SlideOutcome
    from wsiseg.cohort.listing import CohortSlide, Listing

TABLE_CSV, TABLE_PARQUET = "cohort.csv", "cohort.parquet"

GAPS, DUPLICATE = "complete-with-gaps", "duplicate"
"""States of a row beside those of a slide in the ledger."""


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How many nuclei of a slide are of one class."""

    name: str
    nuclei: int
    nuclei_per_mm2: float | None


@dataclass(frozen=True, slots=True)
class CohortRow:
    """One slide as the table has it; None is unknown, or does not apply."""

    id: str
    slide: str
    """Path as it was given."""
    state: str
    """`complete`, `complete-with-gaps`, `failed`, `waiting` (begun or not) or `duplicate`."""
    code: str | None = None
    """Why it failed: a key of `errors.CODES`."""
    message: str | None = None
    tissue_mm2: float | None = None
    nuclei: int | None = None
    nuclei_per_mm2: float | None = None
    mean_area_um2: float | None = None
    """Mean area of a nucleus."""
    seconds: float | None = None
    mpp: float | None = None
    """um per pixel of level 0."""
    mpp_source: str | None = None
    model: str | None = None
    folder: str | None = None
    """The run directory, relative to the table's folder; None if there is none."""
    classes: tuple[ClassFigures, ...] = ()
    """Of a model with several classes; not a column, but two for each class."""

    @property
    def stromal_lymphocyte_share(self) -> float | None:
        """Lymphocytes / (lymphocytes + stromal nuclei), where the model knows both and there are any."""
        return stromal_lymphocytes({one.name: one.nuclei for one in self.classes}).get(SHARE)


SHARE = "stromal_lymphocyte_share"
_FLOATS = ("tissue_mm2", "nuclei_per_mm2", "mean_area_um2", "seconds", "mpp")
_KNOWN = ("id", "slide", "state")
_FORMULA = ("=", "+", "-", "@")


def _column(name: str) -> pa.Field:
    kind = pa.float64() if name in _FLOATS else pa.int64() if name == "nuclei" else pa.string()
    return pa.field(name, kind, nullable=name not in _KNOWN)


_PLAIN = tuple(field.name for field in fields(CohortRow) if field.name != "classes")


def class_names(rows: Sequence[CohortRow]) -> tuple[str, ...]:
    """Name the classes of a cohort, whose slides all went through one model; none for a model with one."""
    return next((tuple(one.name for one in row.classes) for row in rows if row.classes), ())


def _class_columns(names: Sequence[str]) -> dict[str, pa.DataType]:
    """Give the columns of classes: two for each, and the stromal lymphocyte share where it has a meaning."""
    columns: dict[str, pa.DataType] = {}
    for name in column_names(names):
        columns |= {f"class_{name}_nuclei": pa.int64(), f"class_{name}_per_mm2": pa.float64()}
    return columns | dict.fromkeys(stromal_lymphocytes(dict.fromkeys(names, 0)), pa.float64())


def table_schema(rows: Sequence[CohortRow]) -> Any:  # noqa: ANN401 - pyarrow
    """Give the columns of `cohort.parquet`: those of `CohortRow`, then those of its classes."""
    more = [pa.field(name, kind) for name, kind in _class_columns(class_names(rows)).items()]
    return pa.schema([*(_column(name) for name in _PLAIN), *more])


def _values(row: CohortRow, names: Sequence[str]) -> list[Any]:
    """Give the values of a row, in the order of `table_schema`."""
    found = {one.name: (one.nuclei, one.nuclei_per_mm2) for one in row.classes}
    classes = [value for name in names for value in found.get(name, (None, None))]
    share = [row.stromal_lymphocyte_share] * len(stromal_lymphocytes(dict.fromkeys(names, 0)))
    return [*(getattr(row, name) for name in _PLAIN), *classes, *share]


def rows_of(out: Path, listing: Listing, outcomes: Mapping[str, SlideOutcome]) -> tuple[CohortRow, ...]:
    """Give one row for each listed slide, then one for each repeated one.

    Parameters
    ----------
    out
        The cohort's folder.
    outcomes
        How slides ended, by id. Of one that has none, its run directory tells; and none is called complete
        whose directory is not.
    """
    rows = {slide.id: _row(out, slide, outcomes.get(slide.id)) for slide in listing.slides}
    again = [
        replace(_blank(slide), state=DUPLICATE, message=f"the same slide as {first}", folder=rows[first].folder)
        for slide, first in listing.duplicates
    ]
    return (*rows.values(), *again)


def write_tables(out: Path, rows: Sequence[CohortRow]) -> None:
    """Write `cohort.parquet`, then `cohort.csv` (UTF-8; empty is unknown); equal rows give equal bytes."""
    schema, names = table_schema(rows), class_names(rows)
    columns = zip(*(_values(row, names) for row in rows), strict=True) if rows else ([] for _ in schema.names)
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    fsio.write_atomic(out / TABLE_PARQUET, buffer.getbuffer())
    fsio.write_atomic(out / TABLE_CSV, _as_csv(rows))


def tables_hold(out: Path, rows: Sequence[CohortRow]) -> bool:
    """Tell whether the tables were written with these rows."""
    file = out / TABLE_CSV
    with fsio.explained(file):
        return (out / TABLE_PARQUET).is_file() and file.is_file() and file.read_bytes() == _as_csv(rows)


def _as_csv(rows: Sequence[CohortRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table_schema(rows).names)
    names = class_names(rows)
    writer.writerows([_cell(value) for value in _values(row, names)] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """Keep a text in its line, and let no spreadsheet compute it: a slide may be called `=cmd()`."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(_FORMULA) else printable(value)


def _blank(slide: CohortSlide) -> CohortRow:
    # A file name need not be text on Linux; what is not becomes a question mark.
    return CohortRow(slide.id, str(slide.path).encode("utf-8", "replace").decode(), WAITING)


def _row(out: Path, slide: CohortSlide, outcome: SlideOutcome | None) -> CohortRow:
    """Give the row of a slide that is run."""
    folder = out / slide.id
    row = replace(_blank(slide), folder=slide.id if folder.is_dir() else None)
    if outcome is not None and outcome.state == FAILED:
        return replace(_failed(row, outcome.message, outcome.code), seconds=outcome.seconds)
    found = inspect_run(folder)
    if found.state in (State.COMPLETE, State.GAPS):
        return _complete(row, folder, outcome)
    if found.state is State.FAILED:
        return _failed(row, found.detail)
    if found.state is State.DAMAGED or (outcome is not None and outcome.state == COMPLETE):
        return _failed(row, f"the run was complete, but {found.detail}", "E-DAMAGED")
    return row


def _failed(row: CohortRow, message: str | None, code: str | None = None) -> CohortRow:
    """Say why a slide failed; an error that was printed holds its code."""
    printed = re.fullmatch(r"error\[(E-[A-Z-]+)\]: (.*)", message or "", re.DOTALL)
    if printed:
        code, message = code or printed[1], printed[2]
    return replace(row, state=FAILED, code=code, message=message)


def _complete(row: CohortRow, folder: Path, outcome: SlideOutcome | None) -> CohortRow:
    try:
        summary, performance = _read(folder / SUMMARY), _read(folder / PERFORMANCE)
        figures = _figures(summary)
        seconds = performance["seconds"]["total"]
    except (orjson.JSONDecodeError, KeyError) as error:
        return _failed(row, f"the run was complete, but its summary cannot be read ({error})", "E-DAMAGED")
    if outcome is not None and outcome.seconds is not None:
        seconds = outcome.seconds
    return replace(row, seconds=float(seconds), **figures)


def _figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    slide, model = summary["slide"], summary["model"]
    return {
        "state": GAPS if summary["tiles"]["unreadable"] else COMPLETE,
        "tissue_mm2": _float(summary["tissue_mm2"]),
        "nuclei": summary["nuclei"],
        "nuclei_per_mm2": _float(summary["nuclei_per_mm2"]),
        "mean_area_um2": _float(summary["area_um2"]["mean"]),
        "mpp": _float(slide["mpp"]),
        "mpp_source": slide["mpp_source"],
        "model": f"{model['name']} {model['version']}",
        "classes": tuple(
            ClassFigures(one["name"], one["nuclei"], _float(one["nuclei_per_mm2"]))
            for one in summary.get("classes", ())
        ),
    }


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON values
    with fsio.explained(path):
        return orjson.loads(path.read_bytes())
