"""What a run directory is and whether its deliverables are still what they were. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from wsiseg import fsio
from wsiseg.errors import DamageError, OutputError, WsisegError
from wsiseg.run.folder import RunFolder
from wsiseg.run.ledger import MAPS, NUCLEI, Ledger
from wsiseg.run.lock import is_locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


class State(StrEnum):
    """What a run directory can be."""

    ABSENT = "absent"
    """Nothing is there."""
    RUNNING = "running"
    """A live process works in it."""
    RESUMABLE = "resumable"
    """Begun and not finished; the same command goes on."""
    COMPLETE = "complete"
    """All deliverables are there, with the sizes recorded."""
    GAPS = "complete-with-gaps"
    """As complete, but some tiles could not be read, as many as the user allowed."""
    FAILED = "failed"
    """Refused for a reason that a rerun would meet again."""
    DAMAGED = "damaged"
    """Once complete; a deliverable is missing or has another size, or COMPLETE.json is broken."""
    FOREIGN = "foreign"
    """Not a run of wsiseg's; never touched."""


@dataclass(frozen=True)
class RunState:
    """A run directory's state and what explains it."""

    state: State
    detail: str
    blocks_mapped: int = 0
    blocks_decoded: int = 0
    nuclei: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Give the state as JSON values."""
        return {
            "state": str(self.state),
            "detail": self.detail,
            "blocks_mapped": self.blocks_mapped,
            "blocks_decoded": self.blocks_decoded,
            "nuclei": self.nuclei,
        }


def inspect_run(path: Path) -> RunState:
    """Tell what a folder is, from its names and records; cheap, so it reads no deliverable."""
    folder = RunFolder(path)
    with fsio.explained(path):
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return RunState(State.ABSENT, "nothing is there")
        if not path.is_dir():
            return RunState(State.FOREIGN, "it is a file")
    ours = folder.is_ours()
    foreign = [] if ours else folder.foreign_names()
    if foreign:
        return RunState(State.FOREIGN, f"it holds {foreign[0]!r} and no run.json of wsiseg's")
    if is_locked(path):
        return _progress(folder, State.RUNNING, "a process works here")
    if not ours:
        return RunState(State.RESUMABLE, "begun; nothing is recorded yet")
    if folder.complete_json.is_file():
        return finished_state(folder)
    if folder.error_json.is_file():
        return RunState(State.FAILED, _failure(folder))
    return _progress(folder, State.RESUMABLE, "not finished; the same command goes on")


def finished_state(folder: RunFolder) -> RunState:
    """Tell whether what `COMPLETE.json` names is there."""
    content = folder.completion()
    if content is None:
        return RunState(State.DAMAGED, "COMPLETE.json is broken; the same command makes the results again")
    if not folder.run_json.is_file() or fsio.sha256_of(folder.run_json) != content["run"]:
        return RunState(State.DAMAGED, "run.json is missing or has changed")
    for fact in _facts(content):
        file = folder.path / fact["name"]
        if not file.is_file():
            return RunState(State.DAMAGED, f"{fact['name']} is missing")
        if file.stat().st_size != fact["size"]:
            return RunState(State.DAMAGED, f"{fact['name']} has {file.stat().st_size} bytes, not {fact['size']}")
    detail = f"{len(_facts(content))} files, all there"
    if gaps := content.get("gaps", 0):
        return RunState(State.GAPS, f"{detail}; {gaps} tiles of tissue could not be read")
    return RunState(State.COMPLETE, detail)


def _progress(folder: RunFolder, state: State, detail: str) -> RunState:
    path = folder.work / "ledger.jsonl"
    if not path.is_file():
        return RunState(state, detail)
    entries = Ledger.peek(path)
    decoded = [entry for entry in entries if entry.stage == NUCLEI]
    return RunState(
        state,
        detail,
        blocks_mapped=sum(entry.stage == MAPS for entry in entries),
        blocks_decoded=len(decoded),
        nuclei=sum(entry.facts.get("nuclei", 0) for entry in decoded),
    )


def _failure(folder: RunFolder) -> str:
    try:
        return str(orjson.loads(fsio.read(folder.error_json))["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "error.json is broken; run the command again"


def _facts(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [*content["deliverables"], *content["records"]]


def verify_run(path: Path, watch: Callable[[str], None] = lambda name: None) -> int:
    """Compare every deliverable with its digest in COMPLETE.json.

    Returns
    -------
    Number of files that were checked.

    Raises
    ------
    OutputError
        E-OUT-MISSING: there is no complete run.
    DamageError
        E-DAMAGED, naming the files that are missing, changed or not accounted for.
    """
    folder = RunFolder(path)
    content = folder.completion()
    if content is None:
        if folder.complete_json.is_file():
            raise DamageError("E-DAMAGED", "COMPLETE.json is broken", where=path, fix="run the same command again")
        state = inspect_run(path)
        raise OutputError("E-OUT-MISSING", f"there is no complete run: {state.state}, {state.detail}", where=path)
    facts = _facts(content)
    problems = [*_compare(path, {"name": "run.json", "sha256": content["run"]})]
    for fact in facts:
        watch(fact["name"])
        problems += _compare(path, fact)
    problems += _unaccounted(folder, {fact["name"] for fact in facts})
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DamageError(
            "E-DAMAGED",
            "; ".join(problems[:5]) + more,
            where=path,
            fix="set it aside with --fresh and run the slide again",
        )
    return len(facts) + 1


def _compare(path: Path, fact: dict[str, Any]) -> Iterable[str]:
    file = path / fact["name"]
    if not file.is_file():
        return [f"{fact['name']} is missing"]
    try:
        same = fsio.sha256_of(file) == fact["sha256"]
    except WsisegError as error:
        return [f"{fact['name']} cannot be read ({error.what})"]
    return [] if same else [f"{fact['name']} has changed"]


def _unaccounted(folder: RunFolder, known: set[str]) -> Iterable[str]:
    """Files inside the mask store that nobody recorded: a chunk that should not exist reads as data."""
    tops = {name.split("/", 1)[0] for name in known if "/" in name}
    found = (file for top in sorted(tops) for file in fsio.files_below(folder.path / top))
    names = (file.relative_to(folder.path).as_posix() for file in found)
    return [f"{name} was added" for name in names if name not in known]
