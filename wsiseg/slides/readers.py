"""The table of readers, and a slide opened by one of them in this process.

A C library can end the process that it runs in; so nobody opens slides like this but `child` and tests.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from wsiseg.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wsiseg.slides.base import Handle
    from wsiseg.slides.mpp import Mpp

READERS = {
    "openslide": "wsiseg.slides.openslide_reader:OpenSlideSlide",
    "tiffslide": "wsiseg.slides.tiffslide_reader:TiffSlideSlide",
}
"""Reader name to `module:class`; loaded on use, so that importing wsiseg loads no C library."""


def load_reader(target: str) -> Callable[[Path, Mpp | None], Handle]:
    """Give the class that a value of `READERS` names."""
    module, name = target.split(":")
    return cast("Callable[[Path, Mpp | None], Handle]", getattr(import_module(module), name))


def open_handle(file: Path, target: str, mpp: Mpp | None = None) -> Handle:
    """Open a file in this process.

    Parameters
    ----------
    target
        A value of `READERS`.

    Raises
    ------
    SlideError
        The reader refuses the file; where another reader could open it, the error says so.
    """
    try:
        return load_reader(target)(file, mpp)
    except SlideError as error:
        if error.code != "E-SLIDE-FORMAT":
            raise
        raise _refusal(file, error, target) from error


def _refusal(file: Path, refused: SlideError, target: str) -> SlideError:
    """Make the error of a file that the reader refused: the remedy, or what each reader said."""
    reasons = [refused.what]
    for name, other in READERS.items():
        if other == target:
            continue
        try:
            load_reader(other)(file, None).close()
        except SlideError as error:
            reasons.append(error.what)
        else:
            what = f"{refused.what}, but {name} can open it"
            return SlideError("E-SLIDE-FORMAT", what, where=file, fix=f"--reader {name}")
    return SlideError("E-SLIDE-FORMAT", "no reader knows this file (" + "; ".join(reasons) + ")", where=file)
