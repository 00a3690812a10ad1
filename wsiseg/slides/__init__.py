"""Open whole-slide images and read any box of them at any resolution.

The reader is always the one that was asked for: two readers can disagree about pixels and levels, so a run
records its reader and never switches on its own. It works in a process of its own, which a hostile slide may end
without ending this one. A new reader is one module with a class that implements `base.Slide`, one line in
`readers.READERS` and one test that inherits `SlideContract`.
"""

from __future__ import annotations

from pathlib import Path

from wsiseg.errors import SettingsError
from wsiseg.slides.base import Slide, SlideInfo
from wsiseg.slides.contained import ContainedSlide
from wsiseg.slides.identity import fingerprint
from wsiseg.slides.mpp import Mpp, given_mpp
from wsiseg.slides.patched import PatchedSlide
from wsiseg.slides.pool import SlidePool
from wsiseg.slides.precheck import check_file, slide_file, unwritten
from wsiseg.slides.process import Opening
from wsiseg.slides.readers import READERS
from wsiseg.slides.sampling import best_level, read_box, thumbnail

__all__ = [
    "READERS",
    "ContainedSlide",
    "Mpp",
    "Opening",
    "PatchedSlide",
    "Slide",
    "SlideInfo",
    "SlidePool",
    "best_level",
    "fingerprint",
    "open_slide",
    "read_box",
    "thumbnail",
    "unwritten",
]


def open_slide(path: Path | str, *, reader: str = "openslide", mpp: float | None = None) -> ContainedSlide:
    """Open a slide with the reader named, in a process of its own; any number of threads may read it.

    The file is checked first, as far as that needs no C library.

    Parameters
    ----------
    path
        The slide's file, or a folder of DICOM files.
    reader
        A key of `READERS`.
    mpp
        um per level-0 pixel, overriding what the slide states.

    Raises
    ------
    SlideError
        The slide is refused; where another reader could open it, the error says so.
    SettingsError
        There is no such reader, or `mpp` is no pixel size.
    ResourceError
        E-IO: the reader's process does not start.
    """
    if reader not in READERS:
        raise SettingsError("E-USAGE", f"no reader {reader!r}", fix=f"choose one of {', '.join(READERS)}")
    pixel_size = None if mpp is None else given_mpp(mpp)
    file = slide_file(Path(path))
    check_file(file)
    return ContainedSlide(Opening(file, READERS[reader], pixel_size))
