"""What it costs to read slides in a process of their own: the same run with and without, in turns, as ratios.

The network costs nothing, so that reading is what remains; a real network hides most of it. What is read is a
mosaic of the slide that is given.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from cohort_slides import write_mosaic
from engine import NETWORKS

from wsiseg.run import RunSettings, run_slide
from wsiseg.slides import READERS, SlidePool, open_slide
from wsiseg.slides.mpp import given_mpp
from wsiseg.slides.precheck import check_file, slide_file
from wsiseg.slides.readers import open_handle

if TYPE_CHECKING:
    from wsiseg.slides import Slide


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--side", type=int, default=10240, help="of the mosaic, level-0 pixels")
    parser.add_argument("--pairs", type=int, default=5, help="runs with, and as many without")
    parser.add_argument("--reader", choices=READERS, default="openslide")
    parser.add_argument("--workers", type=int)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = write_mosaic(args.slide, Path(folder) / "mosaic.svs", args.side)
        settings = RunSettings(slide=slide, reader=args.reader, workers=args.workers, tissue="none")
        runs: dict[str, list[dict[str, float]]] = {"contained": [], "in_process": []}
        for number in range(args.pairs + 1):
            # Who goes first alternates; the first pair warms up.
            for name in sorted(runs, reverse=number % 2 == 1):
                figures = measure(settings, Path(folder) / f"{name}-{number}", contained=name == "contained")
                runs[name] += [figures] if number else []
    print(
        json.dumps({name: medians(figures) for name, figures in runs.items()} | {"ratio": ratios(runs)}, indent=2)
    )


def open_in_process(path: Path, *, reader: str = "openslide", mpp: float | None = None) -> Slide:
    """Open a slide as wsiseg did before: in this process, a handle a thread."""
    file = slide_file(path)
    check_file(file)
    pixel_size = None if mpp is None else given_mpp(mpp)
    return SlidePool(lambda: open_handle(file, READERS[reader], pixel_size))


def measure(settings: RunSettings, out: Path, *, contained: bool) -> dict[str, float]:
    """Run once; give tiles a second and seconds of processors, children included."""
    opener = open_slide if contained else open_in_process
    began, used = time.perf_counter(), processor_seconds()
    with patch("wsiseg.run.plan.open_slide", opener):
        outcome = run_slide(settings, out, make_predictor=NETWORKS["blank"])
    total, cpu = time.perf_counter() - began, processor_seconds() - used
    tiles, seconds = outcome.performance["tiles_inferred"], outcome.performance["seconds"]
    return {
        "tiles": tiles,
        "tiles_per_second": tiles / (seconds["read_wait"] + seconds["forward"]),
        "tiles_per_second_whole_run": tiles / total,
        "processor_seconds": cpu,
    }


def processor_seconds() -> float:
    """Seconds that this process and those that it waited for have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Give the median of each figure."""
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}


def ratios(runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Give the median over the pairs of contained to in-process, figure by figure."""
    pairs = list(zip(runs["contained"], runs["in_process"], strict=True))
    return {
        name: round(statistics.median(one[name] / other[name] for one, other in pairs), 3) for name in pairs[0][0]
    }


if __name__ == "__main__":
    main()
