"""Slides made by code, with the exact truth: nuclei, their pixels, and where each tile's bytes lie.

`paint_tissue` draws dark nuclei on pink tissue on white glass and returns the labels of level 0; `write_slide`
turns pixels into a small pyramidal TIFF that OpenSlide takes for an Aperio slide; `ArraySlide` serves pixels
straight from memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tifffile

from wsiseg.errors import SlideError
from wsiseg.geometry import Box, Frame
from wsiseg.slides import Mpp, SlideInfo
from wsiseg.slides.handles import HandleGuard, level_box

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GLASS = (243, 243, 243)
TISSUE = (226, 176, 205)
NUCLEUS = (84, 52, 130)
TILE_PX = 256


@dataclass(frozen=True)
class Nucleus:
    """An ellipse in level-0 pixels; its pixels are those whose centre lies inside."""

    x: float
    y: float
    radius_x: float = 12.0
    radius_y: float = 12.0


@dataclass(frozen=True)
class Painting:
    """Level-0 pixels and their truth."""

    rgb: np.ndarray
    """(height, width, 3) uint8."""
    labels: np.ndarray
    """(height, width) uint32: nucleus i of `nuclei` is i + 1; where two overlap the later one lies on top."""
    nuclei: tuple[Nucleus, ...]


def scattered(size: tuple[int, int], spacing: int = 48, seed: int = 0) -> list[Nucleus]:
    """Nuclei on a jittered lattice over (width, height) that never overlap and never touch the edge."""
    rng = np.random.default_rng(seed)
    width, height = size
    found = []
    for y in range(spacing // 2, height - spacing // 2 + 1, spacing):
        for x in range(spacing // 2, width - spacing // 2 + 1, spacing):
            radius_x, radius_y = rng.uniform(0.18, 0.27, 2) * spacing
            dx, dy = rng.uniform(-0.2, 0.2, 2) * spacing
            found.append(Nucleus(x + dx, y + dy, radius_x, radius_y))
    return found


def on_seams(size: tuple[int, int], step: int = TILE_PX, radius: float = 12.0) -> list[Nucleus]:
    """Nuclei centred on each crossing of seams, on each seam between crossings, and a touching pair per tile."""
    width, height = size
    found = []
    for y in range(step, height - step // 2, step):
        for x in range(step, width - step // 2, step):
            found += [Nucleus(x, y, radius, radius), Nucleus(x, y - step / 2, radius, 0.8 * radius)]
            found += [Nucleus(x - step / 2, y, 0.8 * radius, radius)]
            found += touching_pair(x - step / 2, y - step / 2, radius)
    return found


def touching_pair(x: float, y: float, radius: float = 12.0) -> list[Nucleus]:
    """Two discs that share a border of a few pixels."""
    return [Nucleus(x - radius + 0.5, y, radius, radius), Nucleus(x + radius - 0.5, y, radius, radius)]


def paint_tissue(
    size: tuple[int, int], nuclei: Sequence[Nucleus] = (), tissue: Iterable[Box] | None = None, noise: float = 3.0
) -> Painting:
    """Draw nuclei on tissue on glass.

    `size` is (width, height); `tissue` are the boxes of tissue, by default everything; `noise` is the standard
    deviation of the grain, from a fixed seed.
    """
    width, height = size
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = GLASS
    for box in [Box(0, 0, width, height)] if tissue is None else tissue:
        rgb[box.slices] = TISSUE
    labels = np.zeros((height, width), np.uint32)
    for number, nucleus in enumerate(nuclei, 1):
        box = _around(nucleus).intersection(Box(0, 0, width, height))
        inside = _pixels_of(nucleus, box)
        rgb[box.slices][inside] = NUCLEUS
        labels[box.slices][inside] = number
    if noise:
        grain = np.random.default_rng(7).normal(0, noise, (height, width, 1))
        rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
    return Painting(rgb, labels, tuple(nuclei))


def _around(nucleus: Nucleus) -> Box:
    x, y = int(nucleus.x - nucleus.radius_x) - 1, int(nucleus.y - nucleus.radius_y) - 1
    return Box(x, y, int(2 * nucleus.radius_x) + 4, int(2 * nucleus.radius_y) + 4)


def _pixels_of(nucleus: Nucleus, box: Box) -> np.ndarray:
    y, x = np.mgrid[box.y : box.bottom, box.x : box.right] + 0.5
    return ((x - nucleus.x) / nucleus.radius_x) ** 2 + ((y - nucleus.y) / nucleus.radius_y) ** 2 <= 1


def checkerboard(size: tuple[int, int], cell: int = 64) -> np.ndarray:
    """(height, width, 3) uint8 squares of `cell` pixels, dark and light, whose edges give away any shift."""
    width, height = size
    y, x = np.mgrid[:height, :width] // cell
    return np.where(((x + y) % 2)[..., None], np.uint8(40), np.uint8(220)).repeat(3, axis=2)


def shrunk(rgb: np.ndarray, downsample: int) -> np.ndarray:
    """A pyramid level as scanners write it: means of whole squares, what is left at the edge is dropped."""
    if downsample == 1:
        return rgb
    height, width = rgb.shape[0] // downsample, rgb.shape[1] // downsample
    whole = rgb[: height * downsample, : width * downsample]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def aperio_text(rgb: np.ndarray, mpp: str | float | None = 0.25, power: float | None = 40) -> str:
    """The image description by which OpenSlide knows an Aperio slide; `mpp` may be any text."""
    height, width = rgb.shape[:2]
    fields = [f"Aperio Image Library synthetic\r\n{width}x{height} [0,0 {width}x{height}]"]
    fields += [f"AppMag = {power:g}"] if power is not None else []
    fields += [f"MPP = {mpp}"] if mpp is not None else []
    return "|".join(fields)


def write_slide(
    path: Path,
    rgb: np.ndarray,
    *,
    mpp: str | float | None = 0.25,
    power: float | None = 40,
    downsamples: Sequence[int] = (1, 4),
    tile_px: int = TILE_PX,
    compression: str | None = "deflate",
    **tags: Any,
) -> Path:
    """Write level-0 pixels as a tiled pyramid; lossless unless `compression` is "jpeg".

    Further keywords go to every `TiffWriter.write`, for slides that are wrong in some way.
    """
    settings: dict[str, Any] = {"photometric": "rgb", "compression": compression} | tags
    text = settings.pop("description", aperio_text(rgb, mpp, power))
    with tifffile.TiffWriter(path) as writer:
        for number, downsample in enumerate(downsamples):
            if number == 1:
                # Aperio's second page is a thumbnail in strips; tifffile counts on it to find the levels.
                thumbnail = cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA)
                writer.write(thumbnail, photometric="rgb", description=text, metadata=None, software=False)
            writer.write(
                shrunk(rgb, downsample),
                tile=(tile_px, tile_px),
                description=text,
                metadata=None,
                software=False,
                **settings,
            )
    return path


def tile_bytes(path: Path, level: int = 0) -> list[tuple[int, int]]:
    """(offset, count) in the file of each tile of a level, in row-major order."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[_page_of(level)]
        return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def _page_of(level: int) -> int:
    return level + (level > 0)  # the thumbnail follows level 0


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change bytes of a file in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def corrupt_tile(path: Path, index: int, level: int = 0) -> None:
    """Fill a tile's bytes with what no codec decodes."""
    offset, count = tile_bytes(path, level)[index]
    overwrite(path, offset, b"\xab" * count)


def truncate(path: Path, share: float) -> None:
    """Keep the first `share` of a file."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def set_tag(path: Path, code: int, values: int | Sequence[int], level: int = 0) -> None:
    """Overwrite a tag's numbers in place: as many as there are, and none wider than the tag's type."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[_page_of(level)].tags[code]
        kind = {1: "B", 3: "H", 4: "I", 16: "Q"}[int(tag.dtype)]
        numbers = [values] if isinstance(values, int) else list(values)
        packed = struct.pack(f"{tiff.byteorder}{len(numbers)}{kind}", *numbers)
    overwrite(path, tag.valueoffset, packed)


def drop_tile(path: Path, index: int, level: int = 0) -> None:
    """Make a tile one that was never written: offset and count are 0. The level has two tiles or more."""
    offsets, counts = zip(*tile_bytes(path, level), strict=True)
    set_tag(path, 324, [0 if i == index else value for i, value in enumerate(offsets)], level)
    set_tag(path, 325, [0 if i == index else value for i, value in enumerate(counts)], level)


class ArraySlide:
    """A `Slide` over pixels in memory, with any bounds and any downsamples.

    Levels beyond the first are sampled at the exact downsample, fractional ones too. `reads` lists every region
    asked for, as (box in level pixels, level).
    """

    def __init__(
        self,
        rgb: np.ndarray,
        *,
        mpp: float | None = 0.25,
        downsamples: Sequence[float] = (1.0,),
        bounds: Box | None = None,
        unreadable: Box | None = None,
    ) -> None:
        self._levels = [_sampled(rgb, downsample) for downsample in downsamples]
        self._unreadable = unreadable
        self._guard = HandleGuard(Path("array"))
        self.reads: list[tuple[Box, int]] = []
        frames = [Frame(a.shape[1], a.shape[0], d) for a, d in zip(self._levels, downsamples, strict=True)]
        self.info = SlideInfo(
            path=Path("array.svs"),
            reader="array",
            reader_version="1",
            vendor="array",
            levels=tuple(frames),
            mpp=None if mpp is None else Mpp(mpp, mpp, "test"),
            objective_power=None,
            background=(255, 255, 255),
            bounds=bounds,
        )

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int], out: np.ndarray | None = None
    ) -> np.ndarray:
        self._guard.check()
        box = level_box(self.info.levels[level], location, size)
        self.reads.append((box, level))
        if self._unreadable and level == 0 and not box.intersection(self._unreadable).empty:
            raise SlideError("E-SLIDE-READ", "made unreadable", where=box)
        return self._levels[level][box.slices].copy()

    def close(self) -> None:
        self._guard.closed = True


def _sampled(rgb: np.ndarray, downsample: float) -> np.ndarray:
    if downsample == round(downsample):
        return shrunk(rgb, round(downsample))
    height, width = int(rgb.shape[0] / downsample), int(rgb.shape[1] / downsample)
    matrix = np.array([[downsample, 0, (downsample - 1) / 2], [0, downsample, (downsample - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    side = 2 * (round(downsample) // 2) + 1  # odd, so that the blur does not shift
    soft = cv2.blur(rgb, (side, side))
    return cv2.warpAffine(soft, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
