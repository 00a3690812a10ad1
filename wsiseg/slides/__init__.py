"""Open whole-slide images and read any box of them at any resolution.

The reader is always the one that was asked for: two readers can disagree about pixels and levels, so a run
records its reader and never switches on its own. A new reader is one module with a class that implements
`base.Slide`, one line in `READERS` and one test that inherits `SlideContract`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wsiseg.errors import SettingsError, SlideError
from wsiseg.slides.base import Slide, SlideInfo
from wsiseg.slides.identity import fingerprint
from wsiseg.slides.mpp import Mpp, given_mpp
from wsiseg.slides.pool import SlidePool
from wsiseg.slides.precheck import check_file, slide_file
from wsiseg.slides.sampling import read_box, thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "READERS",
    "Mpp",
    "Slide",
    "SlideInfo",
    "SlidePool",
    "fingerprint",
    "open_pool",
    "open_slide",
    "read_box",
    "thumbnail",
]

READERS = {
    "openslide": "wsiseg.slides.openslide_reader:OpenSlideSlide",
    "tiffslide": "wsiseg.slides.tiffslide_reader:TiffSlideSlide",
}
"""Reader name to `module:class`; loaded on use, so that importing wsiseg loads no C library."""


def open_slide(path: Path | str, *, reader: str = "openslide", mpp: float | None = None) -> Slide:
    """Open a slide with the reader named, after a check of the file that needs no C library.

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
    """
    if reader not in READERS:
        raise SettingsError("E-USAGE", f"no reader {reader!r}", fix=f"choose one of {', '.join(READERS)}")
    pixel_size = None if mpp is None else given_mpp(mpp)
    file = slide_file(Path(path))
    check_file(file)
    try:
        return _opener(reader)(file, pixel_size)
    except SlideError as error:
        if error.code != "E-SLIDE-FORMAT":
            raise
        raise _refusal(file, error, reader) from error


def open_pool(path: Path | str, *, reader: str = "openslide", mpp: float | None = None) -> SlidePool:
    """Open a slide for many threads; parameters and errors are those of `open_slide`."""
    return SlidePool(lambda: open_slide(path, reader=reader, mpp=mpp))


def _opener(reader: str) -> Callable[[Path, Mpp | None], Slide]:
    module, name = READERS[reader].split(":")
    return cast("Callable[[Path, Mpp | None], Slide]", getattr(import_module(module), name))


def _refusal(file: Path, refused: SlideError, reader: str) -> SlideError:
    """Make the error of a file that the reader refused: the remedy, or what each reader said."""
    reasons = [refused.what]
    for other in READERS:
        if other == reader:
            continue
        try:
            _opener(other)(file, None).close()
        except SlideError as error:
            reasons.append(error.what)
        else:
            return SlideError(
                "E-SLIDE-FORMAT", f"{reader} cannot open it, {other} can", where=file, fix=f"--reader {other}"
            )
    return SlideError("E-SLIDE-FORMAT", "no reader knows this file (" + "; ".join(reasons) + ")", where=file)
