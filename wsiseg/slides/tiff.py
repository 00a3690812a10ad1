"""A TIFF's structure, checked in pure Python before a C library sees it. Decodes no pixel.

Why: a truncated slide opens in tiffslide, and in OpenSlide where its directories come first, and then fails in the
middle of a run or shows wrong tiles; and a crafted tile width makes OpenSlide abort the whole process. The walk
reads directories and tile tables only, which takes milliseconds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from wsiseg.errors import SlideError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_DIRECTORIES = 4096
MOST_TAGS = 4096
LONGEST_SIDE_PX = 2**20
MOST_PIXELS = 2**40
MOST_TILES = 2**26
MOST_TILE_BYTES = 2**28
"""A tile or strip of more decoded bytes than this is no slide's, but what an attack on a decoder looks like."""

_NUMBER_TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _DESCRIPTION = 254, 256, 257, 258, 262, 270
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _SUB_DIRECTORIES = 322, 323, 324, 325, 330
_NDPI = 65420
_COLOURS = {0: "grayscale", 1: "grayscale", 3: "a palette", 5: "CMYK", 8: "CIELab"}
_RGB, _YCBCR = 2, 6


@dataclass(frozen=True)
class _Tag:
    kind: int
    count: int
    offset: int
    """Where in the file the values lie."""


@dataclass(frozen=True)
class _Directory:
    number: int
    """In the order of the walk, from 0."""
    tags: dict[int, _Tag]

    @property
    def tiled(self) -> bool:
        return _TILE_OFFSETS in self.tags

    @property
    def ndpi(self) -> bool:
        """Hamamatsu's variety of TIFF: a level is one strip of any size, with 64-bit offsets in two halves."""
        return _NDPI in self.tags


def check_tiff(file: BinaryIO, path: Path) -> None:
    """Walk all directories of a TIFF or BigTIFF and refuse what no reader would survive or tell.

    Raises
    ------
    SlideError
        E-SLIDE-TRUNCATED, E-SLIDE-FORMAT (loops and absurd sizes), E-NO-PYRAMID or E-PIXEL-FORMAT.
    """
    walk = _Walk(file, path)
    directories = walk.directories()
    for directory in directories:
        walk.check_sizes(directory)
    walk.check_pixels(directories)
    level = 0
    for directory in directories:
        walk.check_extents(directory, f"tile {{}} of level {level}" if directory.tiled else "strip {}")
        level += directory.tiled


class _Walk:
    """One pass over an open file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.size = file.seek(0, 2)
        magic = self._bytes(0, 4)
        self.order = "<" if magic[:2] == b"II" else ">"
        self.big = b"+" in magic

    def directories(self) -> list[_Directory]:
        """Read all directories, those of pyramids inside an OME-TIFF too."""
        found: list[_Directory] = []
        seen: set[int] = set()
        waiting = [self._first_directory()]
        while waiting:
            offset = waiting.pop(0)
            if offset == 0:
                continue
            if offset in seen:
                raise self._absurd(f"its directories form a loop at byte {offset}")
            if len(found) == MOST_DIRECTORIES:
                raise self._absurd(f"it has more than {MOST_DIRECTORIES} directories")
            seen.add(offset)
            directory, following = self._directory(offset, len(found))
            found.append(directory)
            # Sub-directories first: they are the lower levels of the directory that names them.
            waiting[:0] = [*self._numbers(directory, _SUB_DIRECTORIES).tolist(), following]
        return found

    def _first_directory(self) -> int:
        if self.big:
            return self._number("Q", 8)
        wide = self._number("Q", 4) if self.size > 2**32 else self.size
        # Only a NDPI has a 64-bit offset here; in any other TIFF the upper half is other data.
        return wide if wide < self.size else self._number("I", 4)

    def _directory(self, offset: int, number: int) -> tuple[_Directory, int]:
        """Read one directory and the offset of the next."""
        count = self._number("Q", offset) if self.big else self._number("H", offset)
        if count > MOST_TAGS:
            raise self._absurd(f"directory {number} has {count} tags")
        start, entry = (offset + 8, 20) if self.big else (offset + 2, 12)
        table = self._bytes(start, count * entry)
        layout = self.order + ("HHQ8s" if self.big else "HHI4s")
        raw = {code: (kind, n, value) for code, kind, n, value in struct.iter_unpack(layout, table)}
        end, inline = start + count * entry, 8 if self.big else 4
        ndpi = _NDPI in raw
        following = self._number("Q" if self.big or ndpi else "I", end)
        tags = {}
        for position, (code, (kind, n, value)) in enumerate(raw.items()):
            place = start + position * entry + entry - inline
            if n * _TYPE_BYTES.get(kind, 1) > inline:
                (place,) = struct.unpack(self.order + ("Q" if self.big else "I"), value)
                if ndpi:
                    place += self._number("I", end + 8 + 4 * position) << 32
                if place + n * _TYPE_BYTES.get(kind, 1) > self.size:
                    raise self._truncated(f"tag {code} of directory {number}", place)
            tags[code] = _Tag(kind, n, place)
        return _Directory(number, tags), following

    def check_sizes(self, directory: _Directory) -> None:
        """Refuse dimensions that would make a reader reserve absurd amounts of memory."""
        width, height = self._first(directory, _WIDTH), self._first(directory, _HEIGHT)
        if max(width, height) > LONGEST_SIDE_PX or width * height > MOST_PIXELS:
            raise self._absurd(f"directory {directory.number} claims {width} x {height} px")
        if directory.ndpi:
            return
        samples = self._first(directory, _SAMPLES, 1)
        if directory.tiled:
            across, down = self._first(directory, _TILE_WIDTH), self._first(directory, _TILE_HEIGHT)
        else:
            across, down = width, min(self._first(directory, _STRIP_ROWS, height), height)
        if across * down * samples > MOST_TILE_BYTES:
            raise self._absurd(f"directory {directory.number} claims tiles of {across} x {down} px")

    def check_pixels(self, directories: list[_Directory]) -> None:
        """Refuse a file without a slide image in it, or whose largest image is not 8-bit RGB."""
        tiled = [each for each in directories if each.tiled]
        if directories and not tiled and all(self._associated(each) for each in directories):
            what = "the file holds no slide image, only a label, macro or thumbnail"
            raise SlideError("E-NO-PYRAMID", what, where=self.path)
        main = max(tiled or directories, key=self._area, default=None)
        if main is None:
            raise self._absurd("it has no directory")
        bits = self._numbers(main, _BITS).tolist() or [1]
        colour = self._first(main, _PHOTOMETRIC)
        samples, planar = self._first(main, _SAMPLES, 1), self._first(main, _PLANAR, 1)
        doubts = {
            f"PhotometricInterpretation is {_COLOURS.get(colour, colour)}": colour not in (_RGB, _YCBCR),
            f"BitsPerSample is {max(bits)}": set(bits) != {8},
            f"SamplesPerPixel is {samples}": samples not in (3, 4),
            "PlanarConfiguration is separate": planar != 1,
        }
        for doubt, found in doubts.items():
            if found:
                what = f"the pixels are not 8-bit RGB: {doubt}"
                raise SlideError("E-PIXEL-FORMAT", what, where=self.path)

    def check_extents(self, directory: _Directory, name: str) -> None:
        """Refuse a file that ends before its last tile; tiles of no bytes were never written and are fine."""
        codes = (_TILE_OFFSETS, _TILE_COUNTS) if directory.tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
        offsets, counts = (self._numbers(directory, code) for code in codes)
        if len(offsets) != len(counts):
            raise self._absurd(f"directory {directory.number} has {len(offsets)} tiles and {len(counts)} sizes")
        # A NDPI of more than 4 GiB keeps the upper halves of inline values beyond the directory; its offsets are
        # therefore not checked, and OpenSlide checks them when it opens the slide.
        if directory.ndpi and self.size > 2**32:
            return
        # Each summand is checked on its own, because a sum of two 64-bit numbers may wrap around.
        beyond = (counts > 0) & ((offsets > self.size) | (counts > self.size) | (offsets + counts > self.size))
        if beyond.any():
            index = int(beyond.argmax())
            raise self._truncated(name.format(index), int(offsets[index]) + int(counts[index]), "ends")

    def _associated(self, directory: _Directory) -> bool:
        text = self._text(directory)
        reduced = self._first(directory, _SUBFILE) & 1
        return bool(reduced) or any(word in text for word in ("label", "macro", "thumbnail"))

    def _area(self, directory: _Directory) -> int:
        return self._first(directory, _WIDTH) * self._first(directory, _HEIGHT)

    def _text(self, directory: _Directory) -> str:
        tag = directory.tags.get(_DESCRIPTION)
        return self._bytes(tag.offset, min(tag.count, 4096)).decode("latin-1").lower() if tag else ""

    def _first(self, directory: _Directory, code: int, default: int = 0) -> int:
        numbers = self._numbers(directory, code)
        return int(numbers[0]) if len(numbers) else default

    def _numbers(self, directory: _Directory, code: int) -> npt.NDArray[np.uint64]:
        """Give a tag's whole numbers; none where the directory lacks the tag or it holds no whole numbers."""
        tag = directory.tags.get(code)
        if tag is None or tag.kind not in _NUMBER_TYPES:
            return np.zeros(0, np.uint64)
        if tag.count > MOST_TILES:
            raise self._absurd(f"tag {code} of directory {directory.number} has {tag.count} values")
        dtype = np.dtype(self.order + _NUMBER_TYPES[tag.kind])
        return np.frombuffer(self._bytes(tag.offset, tag.count * dtype.itemsize), dtype).astype(np.uint64)

    def _number(self, kind: str, offset: int) -> int:
        number: int = struct.unpack(self.order + kind, self._bytes(offset, struct.calcsize(kind)))[0]
        return number

    def _bytes(self, offset: int, count: int) -> bytes:
        if offset + count > self.size:
            raise self._truncated("a directory", offset + count)
        self.file.seek(offset)
        return self.file.read(count)

    def _truncated(self, what: str, offset: int, verb: str = "lies") -> SlideError:
        what = f"{what} {verb} at byte {offset}, the file has {self.size}"
        return SlideError("E-SLIDE-TRUNCATED", what, where=self.path, fix="copy or download it again")

    def _absurd(self, what: str) -> SlideError:
        return SlideError("E-SLIDE-FORMAT", f"the TIFF is damaged: {what}", where=self.path)
