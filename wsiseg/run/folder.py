"""A run directory on disk: its names, its record (`run.json`) and the word that ends it (`COMPLETE.json`).

The rules: `run.json` is written first and once; every deliverable gets its final name whole; `COMPLETE.json` is
written last. Only a valid `COMPLETE.json` means complete; anything else is continued by the same command.
"""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from wsiseg import __version__, fsio
from wsiseg.errors import OutputError, WsisegError
from wsiseg.run.lock import LOCK_NAME
from wsiseg.run.staging import forget_attempts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsiseg.run.staging import Staged

SCHEMA = 1
"""Layout of the run directory; raised when an older wsiseg could no longer read it."""

MASKS = "masks.ome.zarr"
PARQUET = "nuclei.parquet"
GEOJSON = ("nuclei.geojson.gz", "nuclei.geojson.zip")
OVERVIEW = "overview.png"
SUMMARY = "summary.json"
REPORT = "report.html"
PERFORMANCE = "performance.json"
DELIVERABLES = (MASKS, PARQUET, *GEOJSON, OVERVIEW, SUMMARY, REPORT)
"""What a run is for; byte-identical for equal slide, bundle, settings and numerics."""
RECORDS = (PERFORMANCE,)
"""What is true of one execution alone: seconds. Checked like a deliverable, but not reproducible."""

_BEFORE = {LOCK_NAME, "run.json" + fsio.PARTIAL}
"""What a kill leaves of a run that has not recorded anything yet."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run directory."""

    path: Path

    @property
    def run_json(self) -> Path:
        """What was asked for and under which numerics."""
        return self.path / "run.json"

    @property
    def complete_json(self) -> Path:
        """Name, size and digest of every deliverable; there only when all of them are."""
        return self.path / "COMPLETE.json"

    @property
    def error_json(self) -> Path:
        """The last refusal that a rerun would repeat."""
        return self.path / "error.json"

    @property
    def work(self) -> Path:
        """Ledger, maps and block results; removed on completion."""
        return self.path / "work"

    def foreign_names(self) -> list[str]:
        """Give what keeps a folder without a run of ours from becoming one.

        Names alone prove nothing: a `work` or a `report.html` beside no `run.json` of ours is somebody else's.
        """
        with fsio.explained(self.path):
            names = sorted(entry.name for entry in self.path.iterdir())
        return [name for name in names if name not in _BEFORE]

    def is_ours(self) -> bool:
        """Tell whether the folder holds the record of a run, of this or another version, or of a run's end."""
        content = _load(self.run_json) if self.run_json.is_file() else None
        return self.completion() is not None or (content is not None and {"schema", "wsiseg"} <= content.keys())

    def create(self) -> None:
        """Make the folder, or accept one that is empty or ours.

        Raises
        ------
        OutputError
            E-OUT-FOREIGN if it holds anything else, E-OUT-READONLY if it cannot be made.
        """
        with fsio.explained(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise OutputError(
                    "E-OUT-FOREIGN", "the output is a file", where=self.path, fix="choose a folder with -o"
                )
            self.path.mkdir(parents=True, exist_ok=True)
        if self.is_ours():
            return
        foreign = self.foreign_names()
        if foreign:
            raise OutputError(
                "E-OUT-FOREIGN",
                f"the folder holds {foreign[0]!r}, which is not a run of wsiseg's",
                where=self.path,
                fix="choose an empty or new folder with -o",
            )

    def begin(self, record: dict[str, Any]) -> None:
        """Write `run.json`, or check that the one there asks for the same.

        Raises
        ------
        OutputError
            E-SLIDE-CHANGED, E-OUT-SETTINGS, E-NUMERICS or E-OUT-SCHEMA, naming what differs.
        """
        finished = self.completion() is not None
        if self.run_json.exists() or finished:
            check_same(self.read_record(), record, self.path, finished=finished)
        else:
            fsio.write_atomic(self.run_json, _dump(record))

    def read_record(self) -> dict[str, Any]:
        """Read `run.json`.

        Raises
        ------
        OutputError
            E-OUT-MISSING if there is none, E-OUT-SCHEMA if it is not readable by this version.
        """
        if not self.run_json.is_file():
            raise OutputError("E-OUT-MISSING", "there is no run.json here", where=self.path, fix="use --fresh")
        record = _load(self.run_json)
        if record is None or record.get("schema") != SCHEMA:
            raise OutputError(
                "E-OUT-SCHEMA",
                "run.json is not one that this version of wsiseg reads",
                where=self.run_json,
                fix=f"use the version that wrote it, or another -o (this is wsiseg {__version__})",
            )
        return record

    def completion(self) -> dict[str, Any] | None:
        """Give the content of a valid `COMPLETE.json`; None where there is none or it is damaged."""
        content = _load(self.complete_json) if self.complete_json.is_file() else None
        if content is None or content.get("schema") != SCHEMA:
            return None
        digest = content.pop("digest", None)
        return content if digest == _digest(content) else None

    def complete(self, results: Iterable[Staged], performance: dict[str, Any], gaps: int = 0) -> None:
        """Give every deliverable its final name, write the record of this execution, then `COMPLETE.json`.

        Parameters
        ----------
        gaps
            Tiles that could not be read.
        """
        found = {one.name: one for one in results}
        for one in found.values():
            fsio.publish(one.path, self.path / one.name)
        fsio.write_atomic(self.path / PERFORMANCE, _dump(performance))
        content: dict[str, Any] = {"schema": SCHEMA, "run": fsio.sha256_of(self.run_json)}
        content["deliverables"] = [fact for name in DELIVERABLES if name in found for fact in found[name].files]
        content["records"] = [self._fact(name) for name in RECORDS]
        if gaps:
            content["gaps"] = gaps
        fsio.write_atomic(self.complete_json, _dump({**content, "digest": _digest(content)}))

    def _fact(self, name: str) -> dict[str, Any]:
        file = self.path / name
        return {"name": name, "size": file.stat().st_size, "sha256": fsio.sha256_of(file)}

    def clear_results(self) -> None:
        """Remove deliverables and partial ones of an attempt that did not reach its end."""
        for name in (*RECORDS, "run.json", "COMPLETE.json", "error.json"):
            fsio.remove(fsio.partial_name(self.path / name))
        for name in (*DELIVERABLES, *RECORDS, "COMPLETE.json", "error.json"):
            fsio.remove(self.path / name)
        forget_attempts(self.work)
        for stray in self.work.glob(f"*/*{fsio.PARTIAL}"):
            fsio.remove(stray)

    def set_aside(self) -> Path:
        """Rename a folder that holds a run to the first free `NAME.old-N`; nothing is deleted."""
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.old-{number}")).exists():
            number += 1
        fsio.rename(self.path, aside)
        return aside


def check_same(old: dict[str, Any], new: dict[str, Any], where: Path, *, finished: bool) -> None:
    """Refuse to go on with a run that was begun for something else.

    A finished run is compared by what was asked for only: its bytes exist, whatever would make them here.
    """
    fix = "use another -o, or --fresh to set the old run aside"
    if old.get("slide") != new["slide"]:
        raise OutputError("E-SLIDE-CHANGED", "the folder holds a run of another slide", where=where, fix=fix)
    asked = [key for key in ("mpp", "bundle", "settings") if old.get(key) != new.get(key)]
    if asked:
        text = ", ".join(_difference(key, old.get(key), new.get(key)) for key in asked)
        raise OutputError("E-OUT-SETTINGS", f"the run here has other settings: {text}", where=where, fix=fix)
    if finished:
        return
    how = [key for key in ("wsiseg", "numerics", "versions") if old.get(key) != new.get(key)]
    if how:
        text = ", ".join(_difference(key, old.get(key), new.get(key)) for key in how)
        raise OutputError(
            "E-NUMERICS",
            f"the run began under other conditions, which would mix results: {text}",
            where=where,
            fix=fix,
        )


def _difference(key: str, old: Any, new: Any) -> str:  # noqa: ANN401 - JSON values
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return ", ".join(f"{key}.{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in names)
    return f"{key} was {old!r}, now {new!r}"


def _dump(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _load(path: Path) -> dict[str, Any] | None:
    try:
        content = orjson.loads(fsio.read(path))
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def record_failure(folder: RunFolder, error: WsisegError) -> None:
    """Note why a run failed, for `wsiseg status`; only in a folder that is already ours."""
    if folder.run_json.exists():
        fsio.write_atomic(folder.error_json, _dump({"code": error.code, "message": str(error)}))


def keep_traceback(folder: RunFolder) -> None:
    """Note where a bug ended a run, for a report of it; the next call that completes the run removes it."""
    if folder.work.is_dir():
        fsio.write_atomic(folder.work / "traceback.txt", traceback.format_exc().encode())
