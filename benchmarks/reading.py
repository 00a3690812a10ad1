"""What the readers take for the same windows of a slide, in turns: tiles a second, and whether pixels are equal.

    python benchmarks/reading.py SLIDE [--mpp 0.5] [--windows 16] [--threads 2]

Windows are those of a run: 4 x 4 tiles of 256 px with a halo of 32 px, row by row from the middle of the slide.
Each round begins with empty caches. The readers work in this process, so that its processor seconds are theirs;
tiles a second of the clock mean something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from wsiseg.geometry import Box
from wsiseg.host import keep_freed_memory
from wsiseg.slides import READERS, SlidePool, read_box
from wsiseg.slides.readers import open_handle
from wsiseg.slides.tiffslide_reader import shared_cache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsiseg.geometry import Frame

TILE_PX, WINDOW_TILES, HALO_PX = 256, 4, 32


def windows(frame: Frame) -> Iterator[Box]:
    """Give the boxes of a frame's windows that lie inside it, with their halo."""
    side = TILE_PX * WINDOW_TILES
    for y in range(frame.height // 2 // side * side, frame.height - side, side):
        for x in range(side, frame.width - side, side):
            yield Box(x, y, side, side).grown(HALO_PX)


def measure(path: Path, target: str, mpp: float, count: int, threads: int) -> tuple[float, float, list[int]]:
    """Read windows once; give seconds of processors and of the clock, and a sum over each window's pixels."""
    shared_cache.cache_clear()  # OpenSlide's own forgets with the handle
    slide = SlidePool(lambda: open_handle(path, target))
    frame = slide.info.frame_at(mpp)
    boxes = list(islice(windows(frame), count))
    cpu, clock = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        sums = list(pool.map(lambda box: int(read_box(slide, frame, box).sum()), boxes))
    seconds = time.process_time() - cpu, time.perf_counter() - clock
    slide.close()
    return *seconds, sums


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()
    cv2.setNumThreads(1)
    taken: dict[str, list[tuple[float, float, list[int]]]] = {name: [] for name in READERS}
    for _ in range(args.rounds):
        for name, target in READERS.items():
            taken[name].append(measure(args.slide, target, args.mpp, args.windows, args.threads))
    first, *others = taken.values()
    tiles = len(first[0][2]) * WINDOW_TILES**2
    result = {
        "slide": args.slide.name,
        "mpp": args.mpp,
        "tiles": tiles,
        "threads": args.threads,
        "pixels_equal": all(sums == first[0][2] for rounds in (first, *others) for *_, sums in rounds),
        "tiles_per_processor_second": {name: rate(tiles, [one[0] for one in taken[name]]) for name in taken},
        "tiles_per_second": {name: rate(tiles, [one[1] for one in taken[name]]) for name in taken},
    }
    print(json.dumps(result, indent=2))


def rate(tiles: int, seconds: list[float]) -> float:
    """Give tiles a second of the median round."""
    return round(tiles / statistics.median(seconds), 1)


if __name__ == "__main__":
    main()
