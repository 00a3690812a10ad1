"""One run of a slide in this process: tiles a second, seconds by stage, peaks of memory and of `work/`, as JSON.

The networks `colours` and `blank` cost almost nothing, so that what remains is the engine: reading, bookkeeping,
decoding, writing. They are here and not in the package, because nobody runs a slide with them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from wsiseg.cli.display import watching
from wsiseg.run import RunSettings, run_slide
from wsiseg.slides import READERS


class Blank:
    """Finds nothing, at once."""

    batch = 16
    numerics: dict[str, Any] = {"device": "blank"}  # noqa: RUF012 - never changed

    def predict(self, windows: np.ndarray) -> np.ndarray:
        """Give empty maps."""
        count, height, width, _ = windows.shape
        return np.zeros((count, 2, height, width), np.uint8)


class Colours(Blank):
    """Takes dark blue pixels for nuclei: about as many objects as a network finds, at once."""

    numerics: dict[str, Any] = {"device": "colours"}  # noqa: RUF012 - never changed
    _ramp = np.clip(2 * np.arange(256) - 255, 0, 255).astype(np.uint8)

    def predict(self, windows: np.ndarray) -> np.ndarray:
        """Give maps with an object wherever it is dark and blue."""
        return np.stack([self._maps(rgb) for rgb in windows])

    def _maps(self, rgb: np.ndarray) -> np.ndarray:
        red = cv2.blur(cv2.extractChannel(rgb, 0), (7, 7))
        _, dark = cv2.threshold(red, 149, 255, cv2.THRESH_BINARY_INV)
        # The share of dark pixels around one rises from a half at a border to all in the middle.
        return np.stack([dark, cv2.LUT(cv2.blur(dark, (11, 11)), self._ramp)])


NETWORKS = {"real": None, "colours": lambda *_: Colours(), "blank": lambda *_: Blank()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="real")
    parser.add_argument("--reader", choices=READERS, default="openslide")
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--workers", type=int)
    args = parser.parse_args()
    settings = RunSettings(slide=args.slide, reader=args.reader, mpp=args.mpp, workers=args.workers)
    with tempfile.TemporaryDirectory() as folder, watching() as progress:
        out = Path(folder) / "run"
        with FolderWatch(out / "work") as watch:
            outcome = run_slide(settings, out, progress=progress, make_predictor=NETWORKS[args.network])
    tiles, seconds = outcome.performance["tiles_inferred"], outcome.performance["seconds"]
    result = {
        "slide": args.slide.name,
        "network": args.network,
        "reader": args.reader,
        "tiles": tiles,
        "nuclei": outcome.summary["nuclei"],
        "tiles_per_second_whole_run": round(tiles / seconds["total"], 1),
        "peak_memory_bytes": peak_memory(),
        "peak_reader_bytes": peak_child_memory(),
        "peak_work_bytes": watch.peak_bytes,
        **outcome.performance,
    }
    print(json.dumps(result, indent=2))


class FolderWatch:
    """Looks twice a second how much a folder holds, and keeps the most."""

    def __init__(self, folder: Path) -> None:
        self.peak_bytes = 0
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> FolderWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.peak_bytes = max(self.peak_bytes, self._bytes())

    def _bytes(self) -> int:
        total = 0
        with contextlib.suppress(FileNotFoundError):  # a folder, removed since it was listed
            for file in self._folder.rglob("*"):
                with contextlib.suppress(FileNotFoundError):
                    total += file.stat().st_size
        return total


def peak_child_memory() -> int:
    """The largest resident size of the largest child of this process, which reads the slide; 0 where unknown."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_memory() -> int:
    """The largest resident size of this process so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
