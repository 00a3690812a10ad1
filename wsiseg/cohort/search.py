"""Slides in folders and behind patterns: which files are slides, by their names alone. Opens no slide."""

from __future__ import annotations

import os
import re
from glob import glob, has_magic
from pathlib import Path
from typing import NoReturn

from wsiseg.errors import SettingsError

SLIDE_SUFFIXES = frozenset(
    (".bif", ".btf", ".czi", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".tif", ".tiff", ".vms", ".vmu")
)
"""Files that a reader may open; what else a slide consists of lies beside them and is not listed."""
DICOM_SUFFIX = ".dcm"
"""A folder with such files is one slide."""
STORE_SUFFIX = ".zarr"
"""Masks of earlier runs: folders of thousands of files and no slide."""


def find_slides(source: str) -> list[Path]:
    """Give the slides that an argument names: a file itself, a folder's, or those that match a pattern.

    What lies in folders and behind patterns comes in natural order: slide 2 before slide 10. A file that is
    named is taken as it is, even if it is not there: whoever opens it says what is wrong with it.

    Raises
    ------
    SettingsError
        E-COHORT-LIST: a folder or pattern without slides, or a folder that cannot be read.
    """
    if os.path.isdir(source):
        found = _below(Path(source))
        if not found and _holds_results(Path(source)):  # `slides/*` names the folders of earlier runs too
            return []
    elif has_magic(source) and not os.path.lexists(source):
        found = [slide for match in glob(source, recursive=True) for slide in _behind(Path(match))]
    else:
        return [Path(source)]
    if not found:
        raise SettingsError(
            "E-COHORT-LIST",
            "no slide was found",
            where=source,
            fix=f"slides are DICOM folders and files that end in {', '.join(sorted(SLIDE_SUFFIXES))}",
        )
    return sorted(dict.fromkeys(found), key=_natural)


def _behind(match: Path) -> list[Path]:
    """Give the slides that one match of a pattern stands for."""
    if any(part.endswith(STORE_SUFFIX) for part in match.parts):
        return []
    if match.is_dir():
        return _below(match)
    if match.suffix.lower() == DICOM_SUFFIX:
        return [match.parent]
    return [match] if match.suffix.lower() in SLIDE_SUFFIXES else []


def _below(folder: Path) -> list[Path]:
    """Give the slides of a folder and its subfolders, in no order; links are followed, each folder seen once."""
    found: list[Path] = []
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_unreadable, followlinks=True):
        real = os.path.realpath(root)
        # Hidden files are what macOS leaves on disks.
        folders[:] = [name for name in folders if not name.startswith(".") and not name.endswith(STORE_SUFFIX)]
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = [Path(root) / name for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in SLIDE_SUFFIXES]
        if any(path.suffix.lower() == DICOM_SUFFIX for path in paths):
            found.append(Path(root))
    return found


def _unreadable(error: OSError) -> NoReturn:
    raise SettingsError(
        "E-COHORT-LIST",
        f"the folder cannot be read ({error.strerror})",
        where=error.filename,
        fix="check its permissions, or name the slides themselves",
    ) from error


def _holds_results(folder: Path) -> bool:
    return folder.name.endswith("-wsiseg") or any(
        (folder / name).is_file() for name in ("run.json", "cohort.json")
    )


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    """Give a sorting key by the path's parts, with numbers inside a name compared as numbers."""
    parts = [re.split(r"([0-9]+)", part.casefold()) for part in path.parts]
    return [[int(text) if i % 2 else text for i, text in enumerate(part)] for part in parts], str(path)
