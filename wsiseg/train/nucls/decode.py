"""Decodes PNG files to their last byte: a file that is cut short or damaged is refused, never half read."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME = 12
"""Bytes of a chunk beside its data: length, name, checksum."""
_DAMAGE = (OSError, SyntaxError, ValueError, IndexError, EOFError, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for broken PNGs."""


class UnusableFileError(Exception):
    """A file of the data set that cannot be used; the rest of the data set is read all the same.

    Parameters
    ----------
    file
        Path below the data set's folder, with forward slashes.
    reason
        What is wrong, for a person.
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def decode_png(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a whole PNG file as (h, w, 3) RGB.

    Raises
    ------
    UnusableFileError
        Unreadable, empty, no PNG, cut short, or a checksum does not match.
    """
    file = f"{path.parent.name}/{path.name}"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnusableFileError(file, f"cannot be read ({error.strerror})") from error
    if not data:
        raise UnusableFileError(file, "empty file")
    flaw = _flaw(data)
    if flaw:
        raise UnusableFileError(file, flaw)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except _DAMAGE as error:
        raise UnusableFileError(file, f"cannot be decoded ({type(error).__name__})") from error


def _flaw(data: bytes) -> str:
    """Walk the chunks to the end chunk (PNG specification, ISO/IEC 15948, 5.3) and say what is wrong, if anything.

    Decoders are too forgiving: OpenCV gives a picture for half a file, and so does Pillow once anybody has set
    LOAD_TRUNCATED_IMAGES.
    """
    if not data.startswith(_SIGNATURE):
        return "not a PNG image"
    start = len(_SIGNATURE)
    while start + _FRAME <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + _FRAME + length
        if end > len(data):
            break
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return f"damaged: a checksum does not match, at byte {start}"
        if name == b"IEND":
            return ""
        start = end
    return f"cut short: {len(data)} bytes, and no end of the image"
