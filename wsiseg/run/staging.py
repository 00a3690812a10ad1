"""Finished deliverables on their way to their final names. Each attempt to make them has a folder of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsiseg import fsio

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = "results-"


@dataclass(frozen=True, slots=True)
class Staged:
    """A deliverable that is whole and on the disk, and does not have its final name yet."""

    path: Path
    """Where it lies."""
    name: str
    """Its final name in the run directory."""
    files: tuple[dict[str, Any], ...]
    """Name in the run directory, size and sha256 of each of its files."""


def new_attempt(work: Path) -> Path:
    """Make a folder for the results of one attempt, which no other attempt writes to."""
    folder = work / f"{_PREFIX}{secrets.token_hex(4)}"
    with fsio.explained(folder):
        folder.mkdir()
    return folder


def forget_attempts(work: Path) -> None:
    """Remove what attempts left."""
    for folder in work.glob(f"{_PREFIX}*"):
        fsio.remove(folder)


def staged(path: Path) -> Staged:
    """Flush and describe a deliverable whose content lies under the partial name of `path`."""
    partial = fsio.partial_name(path)
    fsio.flush_files(partial)
    files = []
    for file in fsio.files_below(partial):
        inside = () if file == partial else (file.relative_to(partial).as_posix(),)
        with fsio.explained(file):
            size = file.stat().st_size
        files.append({"name": "/".join((path.name, *inside)), "size": size, "sha256": fsio.sha256_of(file)})
    return Staged(partial, path.name, tuple(files))
