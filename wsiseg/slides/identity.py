"""Whether a slide is still the same one. Knows of formats only which files belong together."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from wsiseg.errors import SlideError
from wsiseg.slides.precheck import slide_file

if TYPE_CHECKING:
    from pathlib import Path

ENDS_BYTES = 2**20
"""Read from each end: headers lie at one end and the last tiles or directories at the other."""


def fingerprint(path: Path) -> str:
    """Give the sha256 over a slide's size, first and last MiB: no path and no time, so copies are equal.

    Of a slide of many files (DICOM, MIRAX) the names and sizes of the others count too; a DICOM folder is the
    same slide as the file of its largest level.

    Raises
    ------
    SlideError
        E-SLIDE-READ, or E-SLIDE-KIND for a folder that is no slide.
    """
    digest = hashlib.sha256()
    try:
        path = slide_file(path) if path.is_dir() else path
        size = path.stat().st_size
        digest.update(b"wsiseg slide 1\0%d\0" % size)
        with path.open("rb") as file:
            digest.update(file.read(ENDS_BYTES))
            file.seek(max(size - ENDS_BYTES, 0))
            digest.update(file.read(ENDS_BYTES))
        for other in sorted(_others(path), key=lambda each: each.name):
            digest.update(f"{other.name}\0{other.stat().st_size}\0".encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise SlideError("E-SLIDE-READ", f"the file cannot be read ({error.strerror})", where=path) from error
    return digest.hexdigest()


def _others(path: Path) -> list[Path]:
    """Give the files that a slide has beside the one that is opened."""
    match path.suffix.lower():
        case ".dcm":
            return list(path.parent.glob("*.[dD][cC][mM]"))
        case ".mrxs":
            return [file for file in path.with_suffix("").glob("*") if file.is_file()]
        case _:
            return []
