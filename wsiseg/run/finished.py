"""A finished run as its readers have it: what its files say of the slide, its nuclei in batches, its exports.

Reads deliverables alone, and only of a run whose files are all what `COMPLETE.json` says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from wsiseg import fsio
from wsiseg.errors import OutputError, SettingsError
from wsiseg.export import (
    FORMATS,
    MASK_EXPORTERS,
    RUN_EXPORTERS,
    ExportHeader,
    load_exporter,
    load_mask_exporter,
    load_run_exporter,
)
from wsiseg.export.omezarr import read_classes
from wsiseg.export.parquet import read_about, read_nuclei
from wsiseg.models.bundle import ClassSpec
from wsiseg.run.folder import MASKS, PARQUET, RunFolder
from wsiseg.run.gaps import UNKNOWN
from wsiseg.run.inspect import verify_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wsiseg.nuclei import Nuclei


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A complete run directory whose files have been checked."""

    path: Path
    header: ExportHeader
    """What every file made from the run says about itself."""
    total: int
    """Number of nuclei."""

    @property
    def masks(self) -> Path:
        """The mask store."""
        return self.path / MASKS

    def batches(self) -> Iterator[Nuclei]:
        """Give the nuclei, a block at a time, without their runs."""
        return read_nuclei(self.path / PARQUET, self.header.classes)


def open_finished(path: Path) -> FinishedRun:
    """Check a run directory, file by file, and open it.

    Raises
    ------
    OutputError
        E-OUT-MISSING: there is no complete run.
    DamageError
        E-DAMAGED: a file is not what it was.
    """
    verify_run(path)
    record = RunFolder(path).read_record()
    about, total = read_about(path / PARQUET)
    known = (one for one in read_classes(path / MASKS) if one.value != UNKNOWN)
    header = ExportHeader(
        slide=record["slide"]["name"],
        fingerprint=record["slide"]["fingerprint"],
        mpp=about["mpp"],
        origin=tuple(about["origin"]),
        classes=tuple(ClassSpec(one.value, one.name, one.rgb) for one in known),
        model_sha256=record["bundle"]["sha256"],
    )
    return FinishedRun(path, header, total)


def export_run(folder: Path, to: str, file: Path, coords: Literal["qupath", "slide"] = "qupath") -> list[Path]:
    """Write a finished run in another format.

    Parameters
    ----------
    to
        A key of `FORMATS`.
    file
        The file to write; the format's ending may be left out.
    coords
        Where GeoJSON has its (0, 0); see `ExportHeader.coords`.

    Returns
    -------
    The files that were written.

    Raises
    ------
    SettingsError
        E-USAGE: no such format, no name for a file, or an extra that is not installed.
    OutputError
        E-OUT-MISSING: there is no complete run. E-OUT-FOREIGN: the file exists.
    DamageError
        E-DAMAGED: a file of the run is not what it was.
    """
    if to not in FORMATS:
        raise SettingsError(
            "E-USAGE", f"there is no format {to!r}", where="--to", fix=f"one of {', '.join(FORMATS)}"
        )
    run = open_finished(folder)
    header = replace(run.header, coords=coords)
    stem, possible = _free_names(file, FORMATS[to].endings)
    try:
        if to in MASK_EXPORTERS:
            written = load_mask_exporter(to)(run.masks, stem, header)
        elif to in RUN_EXPORTERS:
            written = load_run_exporter(to)(run.masks, run.batches(), run.total, stem, header)
        else:
            written = load_exporter(to)(run.batches(), run.total, stem, header)
    except BaseException:
        for path in possible:
            fsio.remove(fsio.partial_name(path))
        raise
    for path in written:
        fsio.publish(fsio.partial_name(path), path)
    return written


def _free_names(file: Path, endings: Sequence[str]) -> tuple[Path, list[Path]]:
    """Give a file's name without its ending, and every name that may come of it; none of them may exist."""
    ending = next((one for one in endings if file.name.endswith(one)), "")
    name = file.name.removesuffix(ending)
    if not name:
        raise SettingsError("E-USAGE", "the file has no name", where=file, fix="give one with -o")
    possible = [file.with_name(name + one) for one in endings]
    with fsio.explained(file):
        for path in possible:
            if path.exists():
                raise OutputError(
                    "E-OUT-FOREIGN", "the file exists", where=path, fix="choose another name with -o"
                )
        file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(name), possible
