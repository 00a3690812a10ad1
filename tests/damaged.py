"""Slides that are wrong in one way each, made on the spot; the right ones are `synthetic`'s."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import tifffile
from synthetic import overwrite, paint_tissue, scattered, set_tag, tile_bytes, truncate, write_slide

SIZE = (1100, 700)
"""5 x 3 tiles of 256 px."""
PAINTING = paint_tissue(SIZE, scattered(SIZE))
GREY = PAINTING.rgb[..., 0]
WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 256, 257, 322, 323, 324, 325


def good(path, **options):
    """A sound slide."""
    return write_slide(path, PAINTING.rgb, **options)


def with_tag(path, code, value, **options):
    """A sound slide but for one number of its first level."""
    set_tag(good(path, **options), code, value)


def plain(path, data, **options):
    """One tiled image and no description."""
    tifffile.imwrite(path, data, metadata=None, tile=(256, 256), **options)


def cut(path, share, **options):
    """The first share of a sound slide."""
    truncate(good(path, **options), share)


def associated_only(path):
    """A label and a macro image."""
    rgb = np.zeros((60, 80, 3), np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for name, kind in (("label 80x60", 1), ("macro 80x60", 9)):
            text = f"Aperio Image Library\r\n{name}"
            writer.write(rgb, photometric="rgb", description=text, subfiletype=kind, metadata=None)


def strips(path):
    """One strip of a third of a GB, as it claims."""
    tifffile.imwrite(path, PAINTING.rgb, photometric="rgb", rowsperstrip=700, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        places = {code: tags[code].valueoffset for code in (WIDTH, HEIGHT, 278)}
        kinds = {code: "H" if int(tags[code].dtype) == 3 else "I" for code in places}
    for code, value in ((WIDTH, 60000), (HEIGHT, 60000), (278, 60000)):
        overwrite(path, places[code], struct.pack("<" + kinds[code], value))


# -- structures that no writer makes ---------------------------------------------------------------------------


def tiff(path, *directories, big=False, order="<"):
    """Write a TIFF out of directories, each (entries, next offset or None for the one that follows).

    An entry is (code, type, count, value); a value is what stands in the field itself.
    """
    width = 8 if big else 4
    number, count, entry = ("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")
    magic = struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    data = (b"II" if order == "<" else b"MM") + magic
    for index, (entries, following) in enumerate(directories):
        size = struct.calcsize(order + count) + len(entries) * struct.calcsize(order + entry) + width
        last = index == len(directories) - 1
        following = (0 if last else len(data) + size) if following is None else following
        data += struct.pack(order + count, len(entries))
        data += b"".join(struct.pack(order + entry, *one) for one in entries)
        data += struct.pack(order + number, following)
    path.write_bytes(data)


IMAGE = [(WIDTH, 4, 1, 100), (HEIGHT, 4, 1, 100)]


def loop(path):
    """Two directories, the second of which leads back to the first."""
    tiff(path, (IMAGE, None), (IMAGE, 8))


def many_directories(path):
    """More directories than any slide has."""
    tiff(path, *[([], None)] * 5000)


def overlapping_directories(path):
    """Directories of 4000 tags each that share their bytes: a small file with millions of tags."""
    count, size, step = 4000, 12 * 8192, 12
    body = bytearray(size + 12 * count + 64)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + bytes(body))
    for at in range(8, 8 + 4090 * step, step):
        overwrite(path, at, struct.pack("<H", count))
        overwrite(path, at + 2 + 12 * count, struct.pack("<I", at + step))


def endless_sub_directories(path):
    """A directory that claims a million directories below it."""
    tiff(path, ([*IMAGE, (330, 13, 10**6, 8)], None))
    with path.open("ab") as file:
        file.write(bytes(4 * 10**6))


def wrapping_counts(path):
    """A BigTIFF tag whose offset and length add up to a small number in 64 bits."""
    tiff(path, ([*IMAGE, (TILE_OFFSETS, 16, 2**61 + 1, 2**63)], None), big=True)


def huge_tag(path):
    """A tag of a thousand million values."""
    tiff(path, ([*IMAGE, (TILE_OFFSETS, 4, 10**9, 8)], None))


def long_description(path):
    """A description of 17 MiB, and that much file."""
    tiff(path, ([*IMAGE, (270, 2, 17 * 2**20, 8)], None))
    with path.open("r+b") as file:
        file.truncate(18 * 2**20)


def duplicate_tags(path):
    """Two widths: libtiff believes the first one, and so must the check."""
    tiff(path, ([(WIDTH, 4, 1, 2**31), (WIDTH, 4, 1, 100), (HEIGHT, 4, 1, 100)], None))


def far_directory(path):
    """A sound slide whose second directory lies beyond the end."""
    overwrite(good(path), 4, (2**31).to_bytes(4, "little"))


def too_few_tiles(path):
    """A level that its table covers in part."""
    with_tag(path, WIDTH, 5000)


def wrapping_tile(path):
    """A BigTIFF tile whose offset and size wrap around."""
    plain(path, PAINTING.rgb, photometric="rgb", bigtiff=True)
    offsets = [offset for offset, _ in tile_bytes(path)]
    set_tag(path, TILE_OFFSETS, [2**64 - 10, *offsets[1:]])


# -- tiles that no decoder should believe ----------------------------------------------------------------------


def replace_tile(path, index, data):
    """Put other bytes at the end of the file and let a tile of level 0 be those."""
    places = tile_bytes(path)
    end = path.stat().st_size
    with path.open("ab") as file:
        file.write(data)
    offsets, counts = map(list, zip(*places, strict=True))
    offsets[index], counts[index] = end, len(data)
    set_tag(path, TILE_OFFSETS, offsets)
    set_tag(path, TILE_COUNTS, counts)
    return path


def bomb(path, kind):
    """A sound slide with one tile that unpacks to far more than a tile."""
    if kind == "deflate":
        return replace_tile(good(path), 6, zlib.compress(bytes(2**28), 9))
    good(path, compression="jpeg")
    offset, count = tile_bytes(path)[6]
    data = bytearray(path.read_bytes()[offset : offset + count])
    frame = data.index(b"\xff\xc0")  # start of frame: length, precision, then height and width
    struct.pack_into(">HH", data, frame + 5, 65500, 65500)
    return replace_tile(path, 6, bytes(data))


def huge(path, side):
    """A slide of one level and any size, all of whose tiles are the same few bytes."""
    tile = zlib.compress(np.full((256, 256, 3), (226, 176, 205), np.uint8).tobytes(), 9)
    count = (-(-side // 256)) ** 2
    bits = 8 + 2 + 12 * 12 + 4  # header, and a directory of twelve tags
    offsets, counts = bits + 6, bits + 6 + 4 * count
    entries = [(254, 4, 1, 0), (WIDTH, 4, 1, side), (HEIGHT, 4, 1, side), (258, 3, 3, bits), (259, 3, 1, 8)]
    entries += [(262, 3, 1, 2), (277, 3, 1, 3), (284, 3, 1, 1), (TILE_WIDTH, 3, 1, 256), (TILE_HEIGHT, 3, 1, 256)]
    entries += [(TILE_OFFSETS, 4, count, offsets), (TILE_COUNTS, 4, count, counts)]
    tiff(path, (entries, None))
    with path.open("ab") as file:
        file.write(struct.pack("<HHH", 8, 8, 8))
        file.write(struct.pack("<I", counts + 4 * count) * count)
        file.write(struct.pack("<I", len(tile)) * count)
        file.write(tile)
