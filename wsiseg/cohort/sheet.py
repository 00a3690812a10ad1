"""A list of slides as people keep it: a CSV file from a spreadsheet. Opens no slide."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsiseg.cohort.ids import objection
from wsiseg.errors import SettingsError
from wsiseg.fsio import read_bounded
from wsiseg.run.settings import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_BYTES = 16 << 20
"""Of a list: some 100,000 slides."""
COLUMNS = ("slide", "id", "mpp", "roi", "tissue")
"""What a list may say of a slide; only `slide` must be there."""


@dataclass(frozen=True, slots=True)
class ListedSlide:
    """What somebody said of one slide."""

    path: Path
    place: str
    """Where it was said, for messages."""
    id: str = ""
    """Empty if the slide has no name of its own yet."""
    mpp: float | None = None
    """um per pixel of level 0; None where nothing was said, as below."""
    roi: Path | None = None
    tissue: str | None = None


def read_sheet(path: Path) -> list[ListedSlide]:
    """Read a list of slides: columns of `COLUMNS` in any order, paths relative to the list's folder.

    Commas, semicolons and tabs separate; UTF-8 and what Excel writes on Windows are read; blank lines and spaces
    around a value do not count, and an empty value says nothing.

    Raises
    ------
    SettingsError
        E-COHORT-LIST, naming file and line.
    """
    rows = _rows(path)
    header = next(rows, None)
    if header is None:
        raise _refused("the list is empty", path)
    columns = _columns(*header)
    found = [_slide(dict(_named(fields, columns, place)), place, path.parent) for fields, place in rows]
    if not found:
        raise _refused("the list names no slide", path)
    return found


def _refused(what: str, where: object, fix: str = "") -> SettingsError:
    return SettingsError("E-COHORT-LIST", what, where=where, fix=fix)


def _rows(path: Path) -> Iterator[tuple[list[str], str]]:
    """Give the fields of each line that is not blank, and its place."""
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                yield fields, f"{path}, line {reader.line_num}"
    except csv.Error as error:
        raise _refused(f"not a CSV file ({error})", f"{path}, line {reader.line_num}") from error


def _text(path: Path) -> str:
    try:
        data = read_bounded(path, _MAX_BYTES)
    except OSError as error:
        raise _refused(f"the list cannot be read ({error.strerror})", path) from error
    for encoding in ("utf-8-sig", "cp1252"):  # Excel writes either, depending on what one chooses
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _refused("the list is not text", path, "save it as CSV UTF-8")


def _columns(header: list[str], place: str) -> list[str]:
    columns = [name.casefold() for name in header]
    for name in filter(None, columns):
        if name not in COLUMNS:
            raise _refused(f"there is no column {name!r}", place, f"the columns are {', '.join(COLUMNS)}")
        if columns.count(name) > 1:
            raise _refused(f"the column {name!r} is there twice", place)
    if "slide" not in columns:
        raise _refused("the column 'slide' is missing", place, "the first line names the columns")
    return columns


def _named(fields: list[str], columns: list[str], place: str) -> Iterator[tuple[str, str]]:
    """Pair a line's fields with their columns."""
    for index, text in enumerate(fields):
        name = columns[index] if index < len(columns) else ""
        if name:
            yield name, text
        elif text:  # a spreadsheet adds empty columns, but none with text
            raise _refused(f"{text!r} is in no column", place, "put values that hold a separator in double quotes")


def _slide(row: Mapping[str, str], place: str, folder: Path) -> ListedSlide:
    if not row.get("slide"):
        raise _refused("the line names no slide", place)
    name, roi, tissue = (row.get(column, "") for column in ("id", "roi", "tissue"))
    why = objection(name)
    if why:
        raise _refused(f"the id {name!r} cannot name a folder: {why}", place, "choose another id")
    if tissue:
        tissue = tissue.lower() if tissue.lower() in ("auto", "none") else str(folder / tissue)
    return ListedSlide(
        path=folder / row["slide"],
        place=place,
        id=name,
        mpp=_mpp(row.get("mpp", ""), place),
        roi=folder / roi if roi else None,
        tissue=tissue or None,
    )


def _mpp(text: str, place: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))  # a German spreadsheet writes 0,25
        RunSettings(Path(), mpp=value)
    except ValueError as error:  # a SettingsError is one too
        fix = "give um per pixel, for example 0.25 for 40x"
        raise _refused(f"mpp {text!r} is not a pixel size in um", place, fix) from error
    return value
