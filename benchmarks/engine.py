"""One run of a slide in this process: tiles a second, seconds by stage, peak memory, as JSON.

The networks `colours` and `blank` cost almost nothing, so that what remains is the engine: reading, bookkeeping,
decoding, writing. They are here and not in the package, because nobody runs a slide with them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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
    """Takes dark blue pixels for nuclei: about as many objects as a network finds, in a millisecond a tile."""

    numerics: dict[str, Any] = {"device": "colours"}  # noqa: RUF012 - never changed

    def predict(self, windows: np.ndarray) -> np.ndarray:
        """Give maps with an object wherever it is dark and blue."""
        return np.stack([self._maps(rgb) for rgb in windows])

    def _maps(self, rgb: np.ndarray) -> np.ndarray:
        smooth = cv2.blur(rgb, (7, 7))
        dark = (smooth[..., 0] < 150).astype(np.uint8)
        depth = cv2.distanceTransform(dark, cv2.DIST_L1, 3)
        return np.stack([dark * 255, np.minimum(depth * 20, 255).astype(np.uint8)])


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
        outcome = run_slide(
            settings, Path(folder) / "run", progress=progress, make_predictor=NETWORKS[args.network]
        )
    tiles, seconds = outcome.performance["tiles_inferred"], outcome.performance["seconds"]
    result = {
        "slide": args.slide.name,
        "network": args.network,
        "reader": args.reader,
        "tiles": tiles,
        "nuclei": outcome.summary["nuclei"],
        "tiles_per_second_whole_run": round(tiles / seconds["total"], 1),
        "peak_memory_bytes": peak_memory(),
        **outcome.performance,
    }
    print(json.dumps(result, indent=2))


def peak_memory() -> int:
    """The largest resident size of this process so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
