"""A cohort's folder: what was asked for (`cohort.json`), what became of it (`cohort.jsonl`), and a run a slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from wsiseg import __version__, fsio
from wsiseg.errors import OutputError
from wsiseg.run.inspect import State, inspect_run
from wsiseg.run.lock import LOCK_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.run.settings import RunSettings

SCHEMA = 1
"""Layout of the folder; raised when an older wsiseg could no longer read it."""


@dataclass(frozen=True)
class CohortFolder:
    """The paths of a cohort."""

    path: Path

    @property
    def settings_json(self) -> Path:
        """What all slides are asked for."""
        return self.path / "cohort.json"

    @property
    def ledger(self) -> Path:
        """What became of each slide."""
        return self.path / "cohort.jsonl"

    def create(self) -> None:
        """Make the folder, or accept one that is empty, a cohort, or holds runs only, as a job array makes them.

        Raises
        ------
        OutputError
            E-OUT-FOREIGN if it holds anything else, E-OUT-READONLY if it cannot be made.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(
                "E-OUT-FOREIGN", "the output is a file", where=self.path, fix="choose a folder with -o"
            )
        with fsio.explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            names = sorted(entry.name for entry in self.path.iterdir())
        if self.settings_json.is_file():
            return
        ours = {LOCK_NAME, fsio.partial_name(self.settings_json).name}
        foreign = [name for name in names if name not in ours and _is_foreign(self.path / name)]
        if foreign:
            raise OutputError(
                "E-OUT-FOREIGN",
                f"the folder holds {foreign[0]!r}, which is not a cohort of wsiseg's",
                where=self.path,
                fix="choose an empty or new folder with -o",
            )

    def begin(self, settings: RunSettings, bundle: ModelBundle) -> None:
        """Write `cohort.json`, or check that the one there asks for the same.

        Raises
        ------
        OutputError
            E-OUT-SETTINGS, naming what differs; E-OUT-SCHEMA.
        """
        asked = {"bundle": bundle.sha256, **settings.decisive()}
        if not self.settings_json.exists():
            content = {"schema": SCHEMA, "wsiseg": __version__, "asked": asked}
            data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            fsio.write_atomic(self.settings_json, data)
            return
        before = self._read()
        different = [name for name in {**before, **asked} if before.get(name) != asked.get(name)]
        if different:
            raise OutputError(
                "E-OUT-SETTINGS",
                "the cohort here has other settings: "
                + ", ".join(f"{name} was {before.get(name)!r}, now {asked.get(name)!r}" for name in different),
                where=self.path,
                fix="use another -o",
            )

    def _read(self) -> dict[str, Any]:
        try:
            with fsio.explained(self.settings_json):
                content = orjson.loads(self.settings_json.read_bytes())
            if content["schema"] == SCHEMA:
                return dict(content["asked"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            pass
        raise OutputError(
            "E-OUT-SCHEMA",
            "cohort.json is not one that this version of wsiseg reads",
            where=self.settings_json,
            fix=f"use the version that wrote it, or another -o (this is wsiseg {__version__})",
        )


def _is_foreign(path: Path) -> bool:
    return inspect_run(path).state is State.FOREIGN
