"""Prepares a published NuCLS folder: reads each field once, writes it, and puts the finished folder in place.

::

    DST/images/NAME.png      RGB
    DST/instances/NAME.png   16-bit, 0 = background; label i + 1 is row i of the field's published table
    DST/ignore/NAME.png      what the loss must not look at (strict only)
    DST/classes/NAME.png     what each nucleus is; 0 = background or ambiguous (strict only)
    DST/classes.csv          the classes' values and names (strict only)
    DST/index.csv            the fields, as `wsiseg.train.data` reads them
    DST/nuclei.csv           one row a nucleus: image, id, classes, outline or box, area
    DST/summary.json, .md, .png

The folder is made under a `.partial` name and is there whole or not at all. The source is only read.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
import orjson

from wsiseg import fsio
from wsiseg.errors import OutputError, SettingsError
from wsiseg.train.classes import CLASSES_FILE
from wsiseg.train.nucls.decode import UnusableFileError
from wsiseg.train.nucls.figure import survey_png
from wsiseg.train.nucls.grouping import GROUPINGS, SUPER, class_map
from wsiseg.train.nucls.modes import MODES
from wsiseg.train.nucls.published import MPP, POINT, field_files, orphans, read_field
from wsiseg.train.nucls.report import summary_page
from wsiseg.train.nucls.survey import MADE_BY, FieldRecord, Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.train.nucls.modes import Mode, PreparedField
    from wsiseg.train.nucls.published import PublishedField

_OURS = {
    "images", "instances", "ignore", "classes", "classes.csv", "index.csv", "nuclei.csv",
    "summary.json", "summary.md", "summary.png",
}  # fmt: skip


def prepare_nucls(
    source: Path,
    target: Path,
    mode: str = "strict",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    grouping: str | None = None,
) -> Survey:
    """Prepare a NuCLS folder for training.

    Parameters
    ----------
    source
        Folder with `rgb`, `csv` and, as far as published, `mask` and `visualization`. Never written to.
    target
        New or empty folder, or one made before with the same mode and grouping, which is replaced.
    mode
        A key of `MODES`.
    progress
        Called with the number of fields done and their total.
    grouping
        Which classes the nuclei get, a key of `GROUPINGS`; by default the super classes where the mode has any.

    Raises
    ------
    SettingsError
        E-DATA: no NuCLS folder, or no field in it can be used. E-USAGE: target lies in source; a grouping for a
        mode without classes.
    OutputError
        E-OUT-FOREIGN, E-OUT-SETTINGS: target holds something else, or what another mode or grouping made.
    """
    images = field_files(source)
    if MODES[mode].classes:
        grouping = grouping or SUPER
    elif grouping:
        raise SettingsError("E-USAGE", f"--mode {mode} does not tell classes apart", fix="leave out --classes")
    _check_target(source, target, mode, grouping)
    partial = fsio.partial_name(target)
    fsio.remove(partial)
    try:
        survey = _write_all(images, partial, MODES[mode], progress, grouping)
        fsio.remove(target)
        fsio.publish(partial, target)
    finally:
        fsio.remove(partial)
    return survey


def _check_target(source: Path, target: Path, mode: str, grouping: str | None) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise SettingsError(
            "E-USAGE", "the result may not lie in the data set", where=target, fix="choose another DST"
        )
    if not target.exists():
        return
    present = {path.name for path in target.iterdir()} if target.is_dir() else {""}
    if not present:
        return
    try:
        summary = orjson.loads((target / "summary.json").read_bytes())
        made_by, made_as = summary["made_by"], (summary["mode"], summary.get("grouping"))
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        made_by, made_as = "", ("", None)
    if made_by != MADE_BY or not present <= _OURS:
        foreign = ", ".join(sorted(present - _OURS)[:3]) or "no summary.json of ours"
        raise OutputError(
            "E-OUT-FOREIGN",
            f"the folder is not a prepared NuCLS ({foreign})",
            where=target,
            fix="choose another DST",
        )
    if made_as != (mode, grouping):
        options = f"--mode {made_as[0]}" + (f" --classes {made_as[1]}" if made_as[1] else "")
        raise OutputError("E-OUT-SETTINGS", f"the folder holds {options}", where=target, fix="choose another DST")


def _write_all(
    images: list[Path], folder: Path, mode: Mode, progress: Callable[[int, int], None], grouping: str | None
) -> Survey:
    source = images[0].parent.parent
    records, unusable = [], []
    for done, image in enumerate(images, 1):
        try:
            published = read_field(image)
            prepared = mode.prepare(published)
        except UnusableFileError as error:
            unusable.append(error)
        else:
            classes = class_map(prepared.labels, published.nuclei, grouping) if grouping else None
            _write_field(folder, published.name.name, prepared, classes)
            records.append(_record(published, prepared))
        progress(done, len(images))
    if not records:
        raise SettingsError("E-DATA", f"no field can be used; the first, {unusable[0]}", where=source)
    left_out = sorted((error.file, error.reason) for error in (*unusable, *orphans(source)))
    splits = mode.split([record.name for record in records])
    name = source.resolve().name
    survey = Survey(mode.name, grouping, name, tuple(records), tuple(splits), tuple(left_out))
    _write_tables(folder, survey)
    return survey


def _record(published: PublishedField, prepared: PreparedField) -> FieldRecord:
    drawn = frozenset(np.unique(prepared.labels).tolist()) - {0}
    height, width = published.rgb.shape[:2]
    has_mask = published.mask is not None
    return FieldRecord(published.name, (width, height), has_mask, published.nuclei, drawn, prepared.pixels)


def _write_field(folder: Path, name: str, prepared: PreparedField, classes: npt.NDArray[np.uint8] | None) -> None:
    pictures = {
        "images": cv2.cvtColor(prepared.rgb, cv2.COLOR_RGB2BGR),
        "instances": prepared.labels.astype(np.uint16),
        "ignore": prepared.ignore,
        "classes": classes,
    }
    for kind, picture in pictures.items():
        if picture is not None:
            fsio.write_atomic(folder / kind / f"{name}.png", cv2.imencode(".png", picture)[1].tobytes())


def _write_tables(folder: Path, survey: Survey) -> None:
    content = survey.as_dict()
    fsio.write_atomic(folder / "index.csv", _csv_bytes(_index(survey)))
    fsio.write_atomic(folder / "nuclei.csv", _csv_bytes(_nuclei(survey)))
    if survey.grouping:
        names = ([f"{value}", name] for value, name in enumerate(GROUPINGS[survey.grouping], 1))
        fsio.write_atomic(folder / CLASSES_FILE, _csv_bytes([["value", "name"], *names]))
    fsio.write_atomic(folder / "summary.md", summary_page(content).encode())
    fsio.write_atomic(folder / "summary.png", survey_png(survey))
    fsio.write_atomic(folder / "summary.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _index(survey: Survey) -> Iterable[list[str]]:
    yield ["image", "instances", "group", "split", "mpp", "ignore", "classes"]
    for record, split in zip(survey.records, survey.splits, strict=True):
        file = f"{record.name.name}.png"
        ignore = f"ignore/{file}" if survey.mode == "strict" else ""
        classes = f"classes/{file}" if survey.grouping else ""
        yield [f"images/{file}", f"instances/{file}", record.name.patient, split, f"{MPP}", ignore, classes]


def _nuclei(survey: Survey) -> Iterable[list[str]]:
    """Give a row for each nucleus that is in an instance map; a point has no area."""
    yield ["image", "id", "raw_class", "super_class", "label", "area_um2"]
    for record in survey.records:
        for number, nucleus in enumerate(record.nuclei, 1):
            if number in record.drawn:
                area = "" if nucleus.kind == POINT else f"{nucleus.area_um2:.2f}"
                image = f"images/{record.name.name}.png"
                yield [image, f"{number}", nucleus.raw_class, nucleus.super_class, nucleus.kind, area]


def _csv_bytes(rows: Iterable[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
