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

    from wsiseg.geometry import Frame

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_DIRECTORIES = 4096
MOST_TAGS = 4096
MOST_TAGS_IN_ALL = 2**17
"""Directories can overlap, so a small file can have 4096 of 4096 tags; a slide has a few hundred."""
LONGEST_SIDE_PX = 2**20
MOST_PIXELS = 2**40
MOST_TILES = 2**26
"""In all directories together, which can share one table."""
TILE_SIDES_PX = range(16, 4097)
MOST_STRIP_BYTES = 2**28
"""A strip of more decoded bytes than this is no slide's, but what an attack on a decoder looks like."""
LONGEST_DESCRIPTION = 2**24

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
_COPY = "copy or download it again"


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
        E-SLIDE-TRUNCATED, E-SLIDE-FORMAT (loops and contradictions), E-LIMIT-DIMS, E-LIMIT-TILE, E-NO-PYRAMID or
        E-PIXEL-FORMAT.
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


def unwritten_tiles(file: BinaryIO, path: Path, level: Frame) -> npt.NDArray[np.float64]:
    """Give the tiles of a level that have no bytes: a scanner skipped them, and they show background.

    Returns
    -------
    (n, 4) left, top, right and bottom in level-0 pixels.

    Raises
    ------
    SlideError
        As for `check_tiff`, which accepts the file before.
    """
    walk = _Walk(file, path)
    for directory in walk.directories():
        if directory.tiled and walk.size_of(directory) == (level.width, level.height):
            return walk.unwritten(directory) * level.downsample
    return np.empty((0, 4))


class _Walk:
    """One pass over an open file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.size = file.seek(0, 2)
        magic = self._bytes(0, 4)
        self.order = "<" if magic[:2] == b"II" else ">"
        self.big = b"+" in magic
        self.tags = self.tiles = 0
        """Seen so far."""

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
            below = self._numbers(directory, _SUB_DIRECTORIES, MOST_DIRECTORIES).tolist()
            waiting[:0] = [*below, following]
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
        self.tags += count
        if count > MOST_TAGS or self.tags > MOST_TAGS_IN_ALL:
            raise self._absurd(f"directory {number} has {count} tags, all so far {self.tags}")
        start, entry = (offset + 8, 20) if self.big else (offset + 2, 12)
        table = self._bytes(start, count * entry)
        layout = self.order + ("HHQ8s" if self.big else "HHI4s")
        raw = list(struct.iter_unpack(layout, table))
        end, inline = start + count * entry, 8 if self.big else 4
        ndpi = any(code == _NDPI for code, *_ in raw)
        following = self._number("Q" if self.big or ndpi else "I", end)
        tags: dict[int, _Tag] = {}
        for position, (code, kind, n, value) in enumerate(raw):
            if code in tags:  # libtiff and tifffile take the first
                continue
            place = start + position * entry + entry - inline
            if code == _DESCRIPTION and n > LONGEST_DESCRIPTION:
                raise self._absurd(f"directory {number} has a description of {n} bytes")
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
        claim = f"directory {directory.number} claims"
        if max(width, height) > LONGEST_SIDE_PX or width * height > MOST_PIXELS:
            raise SlideError("E-LIMIT-DIMS", f"{claim} {width} x {height} px", where=self.path, fix=_COPY)
        if directory.tiled:
            self._check_tiles(directory, claim)
        elif not directory.ndpi:
            rows = min(self._first(directory, _STRIP_ROWS, height), height)
            if width * rows * self._first(directory, _SAMPLES, 1) > MOST_STRIP_BYTES:
                what = f"{claim} strips of {width} x {rows} px"
                raise SlideError("E-LIMIT-TILE", what, where=self.path, fix=_COPY)

    def _check_tiles(self, directory: _Directory, claim: str) -> None:
        """Refuse tiles of absurd sizes, and a table that does not cover the image."""
        width, height = self._first(directory, _WIDTH), self._first(directory, _HEIGHT)
        across, down = self._first(directory, _TILE_WIDTH), self._first(directory, _TILE_HEIGHT)
        if across not in TILE_SIDES_PX or down not in TILE_SIDES_PX:
            raise SlideError("E-LIMIT-TILE", f"{claim} tiles of {across} x {down} px", where=self.path, fix=_COPY)
        planes = self._first(directory, _SAMPLES, 1) if self._first(directory, _PLANAR, 1) == 2 else 1
        expected = -(-width // across) * -(-height // down) * planes
        found = directory.tags[_TILE_OFFSETS].count
        if found != expected:
            raise self._absurd(f"{claim} {found} tiles, its size needs {expected}")

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
        self.tiles += sum(directory.tags[code].count for code in codes if code in directory.tags)
        if self.tiles > 2 * MOST_TILES:
            raise self._absurd(f"it has more than {MOST_TILES} tiles")
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

    def size_of(self, directory: _Directory) -> tuple[int, int]:
        """Give (width, height)."""
        return self._first(directory, _WIDTH), self._first(directory, _HEIGHT)

    def unwritten(self, directory: _Directory) -> npt.NDArray[np.float64]:
        """Give (n, 4) left, top, right and bottom of the tiles without bytes, in pixels of the directory."""
        side = np.array([self._first(directory, _TILE_WIDTH), self._first(directory, _TILE_HEIGHT)])
        width, _ = self.size_of(directory)
        empty = np.flatnonzero(self._numbers(directory, _TILE_COUNTS) == 0)
        corner = np.stack(np.divmod(empty, -(-width // int(side[0])))[::-1], axis=1) * side
        return np.hstack([corner, corner + side]).astype(np.float64)

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
        tag = directory.tags.get(code)
        if tag is None or tag.kind not in _NUMBER_TYPES or tag.count == 0:
            return default
        dtype = np.dtype(self.order + _NUMBER_TYPES[tag.kind])
        return int(np.frombuffer(self._bytes(tag.offset, dtype.itemsize), dtype)[0])

    def _numbers(self, directory: _Directory, code: int, most: int = MOST_TILES) -> npt.NDArray[np.uint64]:
        """Give a tag's whole numbers; none where the directory lacks the tag or it holds no whole numbers."""
        tag = directory.tags.get(code)
        if tag is None or tag.kind not in _NUMBER_TYPES:
            return np.zeros(0, np.uint64)
        if tag.count > most:
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
        return SlideError("E-SLIDE-TRUNCATED", what, where=self.path, fix=_COPY)

    def _absurd(self, what: str) -> SlideError:
        return SlideError("E-SLIDE-FORMAT", f"the TIFF is damaged: {what}", where=self.path)
