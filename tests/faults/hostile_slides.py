"""A22: slides with flipped bytes, through both readers, opened and read as a run does.

Half of the mutations hit the structure (directories and tile tables), half any byte. Each slide must end as the
same pixels, a coded refusal, or gaps. Other pixels without an error are possible, because a JPEG tile has no
checksum; they are counted, by what was flipped.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from synthetic import paint_tissue, scattered, write_slide

from faults.table import Row
from wsiseg.errors import WsisegError
from wsiseg.host import usable_cores
from wsiseg.slides import READERS, PatchedSlide, open_slide

if TYPE_CHECKING:
    from pathlib import Path

SLIDES = 2000
SIZE = (700, 500)
LONGEST_S = 20.0
DATA, STRUCTURE = "data of a tile", "structure"


@dataclass(frozen=True)
class Base:
    """A sound slide and where its bytes belong."""

    data: bytes
    rgb: np.ndarray
    """(height, width, 3) as the reader shows it."""
    structure: np.ndarray
    """Offsets of the bytes of directories and tile tables."""
    tiles: np.ndarray
    """(n, 2): begin and end of each tile's bytes."""

    def kind(self, offset: int) -> str:
        """Say what a byte belongs to."""
        within = (self.tiles[:, 0] <= offset) & (offset < self.tiles[:, 1])
        return DATA if within.any() else STRUCTURE


@dataclass(frozen=True)
class Outcome:
    """What became of one mutated slide."""

    end: str
    """`same`, `gaps`, `other pixels`, or the code of a refusal."""
    flipped: tuple[str, ...]
    """What the flipped bytes belong to."""
    seconds: float
    problem: str = ""
    """What must not be; empty if it was not."""


def sweep(folder: Path, share: float) -> list[Row]:
    """Mutate, open and read."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for reader in READERS:
        outcomes = mutations(folder, reader, max(round(SLIDES * share), 1))
        ends = Counter(
            outcome.end if outcome.end in ("same", "gaps", "other pixels") else "refused" for outcome in outcomes
        )
        silent = Counter(
            DATA if DATA in one.flipped else STRUCTURE for one in outcomes if one.end == "other pixels"
        )
        counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
        where = ", ".join(f"{count} in the {kind}" for kind, count in sorted(silent.items()))
        row = Row("A22", f"mutated slides, {reader}: {counts}" + (f" ({where})" if where else ""))
        for number, outcome in enumerate(outcomes):
            row.count(f"slide {number}", [outcome.problem] if outcome.problem else [])
        rows.append(row)
    return rows


def mutations(folder: Path, reader: str, count: int, seed: int = 20261123) -> list[Outcome]:
    """Give what becomes of so many mutated slides; the same seed gives the same slides."""
    base = _base(folder / f"base-{reader}.svs", reader)
    with ThreadPoolExecutor(usable_cores()) as threads:
        return list(threads.map(lambda number: _mutated(base, folder, reader, (seed, number)), range(count)))


def _base(path: Path, reader: str) -> Base:
    write_slide(path, paint_tissue(SIZE, scattered(SIZE)).rgb, compression="jpeg", tile_px=128)
    slide = open_slide(path, reader=reader)
    rgb = slide.read_region((0, 0), 0, SIZE)
    slide.close()
    structure, tiles = list(range(8)), []
    with tifffile.TiffFile(path) as tiff:
        for page in tiff.pages:
            structure += range(page.offset, page.offset + 2 + 12 * len(page.tags) + 4)
            for tag in page.tags:
                if tag.code in (324, 325, 273, 279):
                    structure += range(tag.valueoffset, tag.valueoffset + tag.valuebytecount)
            tiles += [
                (first, first + size) for first, size in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    return Base(path.read_bytes(), rgb, np.unique(structure), np.array(tiles))


def _mutated(base: Base, folder: Path, reader: str, seed: tuple[int, int]) -> Outcome:
    rng = np.random.default_rng(seed)
    data = bytearray(base.data)
    anywhere = rng.random() < 0.5
    places = [
        int(rng.integers(len(data)) if anywhere else rng.choice(base.structure)) for _ in range(rng.integers(1, 5))
    ]
    for place in places:
        data[place] = rng.integers(256)
    path = folder / f"{reader}-{seed[1]}.svs"
    path.write_bytes(data)
    flipped = tuple(base.kind(place) for place in places)
    began = time.monotonic()
    try:
        end, problem = _look(path, reader, base.rgb)
    except Exception as error:  # noqa: BLE001 - what must never come out of a slide
        end, problem = "traceback", f"{type(error).__name__}: {error} (bytes {places})"
    finally:
        path.unlink()
    seconds = time.monotonic() - began
    if seconds > LONGEST_S:
        problem = problem or f"it took {seconds:.0f} s (bytes {places})"
    return Outcome(end, flipped, seconds, problem)


def _look(path: Path, reader: str, expected: np.ndarray) -> tuple[str, str]:
    """Open and read a slide; give how that ended, and what must not be."""
    try:
        slide = open_slide(path, reader=reader)
    except WsisegError as error:
        return error.code, "" if error.exit_status == 3 else f"it ended with {error}"
    try:
        patched = PatchedSlide(slide)
        level = slide.info.levels[0]
        if (level.width, level.height) != SIZE:
            return "other pixels", ""
        pixels = patched.read_region((0, 0), 0, SIZE)
    finally:
        slide.close()
    if len(patched.lost(0)):
        return "gaps", ""
    return ("same" if np.array_equal(pixels, expected) else "other pixels"), ""
