"""What can be said about a slide before a C library sees it: its path and kind, and a TIFF's structure."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import numpy as np

from wsiseg.errors import SlideError
from wsiseg.slides.tiff import TIFF_MAGIC, check_tiff, unwritten_tiles

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.slides.base import SlideInfo

UNFINISHED = (".partial", ".part", ".crdownload", ".tmp")
"""What download tools call a file that they have not finished."""
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def slide_file(path: Path) -> Path:
    """Give the file to open: the path itself, or the largest file of a DICOM folder (its largest level).

    OpenSlide finds the other levels beside any one file of a DICOM series.

    Raises
    ------
    SlideError
        E-SLIDE-MISSING, E-SLIDE-KIND, E-SLIDE-EMPTY or E-SLIDE-READ. Nothing is opened, so pipes do not hang.
    """
    status = _status(path)
    if stat.S_ISDIR(status.st_mode):
        files = [file for file in path.glob("*.[dD][cC][mM]") if file.is_file()]
        if not files:
            fix = "name the slide's file, or a folder of DICOM files"
            raise SlideError("E-SLIDE-KIND", "the path is a folder", where=path, fix=fix)
        return slide_file(max(files, key=lambda file: (file.stat().st_size, file.name)))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise SlideError("E-SLIDE-KIND", f"the path is {kind}", where=path)
    if path.suffix.lower() in UNFINISHED:
        raise SlideError("E-SLIDE-KIND", "the name says that the download is unfinished", where=path)
    if status.st_size == 0:
        raise SlideError("E-SLIDE-EMPTY", "the file is empty", where=path)
    if not os.access(path, os.R_OK):
        raise SlideError("E-SLIDE-READ", "the file may not be read", where=path, fix="check its permissions")
    return path


def check_file(path: Path) -> None:
    """Refuse a TIFF that is truncated, absurd or not RGB; other formats are left to the readers.

    Raises
    ------
    SlideError
        See `wsiseg.slides.tiff.check_tiff`.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) in TIFF_MAGIC:
                check_tiff(file, path)
    except OSError as error:
        raise SlideError("E-SLIDE-READ", f"the file cannot be read ({error.strerror})", where=path) from error


def unwritten(info: SlideInfo, level: int) -> npt.NDArray[np.float64]:
    """Give the places of a level that the scanner never wrote, as far as the format tells: TIFF does.

    Returns
    -------
    (n, 4) left, top, right and bottom in level-0 pixels.
    """
    try:
        with info.path.open("rb") as file:
            if file.read(4) in TIFF_MAGIC:
                return unwritten_tiles(file, info.path, info.levels[level])
    except OSError as error:
        raise SlideError("E-SLIDE-READ", f"the file cannot be read ({error.strerror})", where=info.path) from error
    return np.empty((0, 4))


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "the symbolic link leads nowhere" if path.is_symlink() else "there is no such file"
        raise SlideError("E-SLIDE-MISSING", what, where=path) from error
    except (OSError, ValueError) as error:  # a name that is too long, a NUL in it, a folder without permission
        raise SlideError("E-SLIDE-MISSING", f"the path cannot be looked up ({error})", where=path) from error
