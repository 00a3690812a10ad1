"""How far above the floor a whole run is: its seconds over those of its parts, measured in turns in one go.

    python benchmarks/floor.py SLIDE [--device openvino] [--repeat 5]

The floor is what the network, the reading and the decoding of the same tissue take, each alone on all cores: the
network over the tiles without halo, pixels at hand; every tile read once; maps that lie on disk decoded. The whole
run is `wsiseg run` in a shell, from the command to COMPLETE.json. Prints one JSON document: medians, their ratio,
and what the difference consists of.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from wsiseg.host import usable_cores
from wsiseg.predict import predictor_on
from wsiseg.run import RunPlan, RunSettings, plan_run, slide_of
from wsiseg.run.blocks import WINDOW_TILES, BlockWork
from wsiseg.run.gaps import read_window
from wsiseg.slides import read_box

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsiseg.geometry import Box
    from wsiseg.run.plan import Layout
    from wsiseg.slides import PatchedSlide
    from wsiseg.tiling import Block, Window

SAMPLE = 12
"""Windows of pixels kept for the network, spread over the slide."""
LOOK_S = 0.5


class Floors:
    """The parts of a run on one slide, each as something to be timed.

    Parameters
    ----------
    work
        The working folder of a finished run of the same settings, with its maps.
    """

    def __init__(self, settings: RunSettings, slide: PatchedSlide, work: Path) -> None:
        self.plan = plan_run(settings, slide)
        self._slide = slide
        layout = self.plan.layout
        self.blocks = layout.active_blocks()
        grid, side = layout.grid, WINDOW_TILES
        self._boxes = [grid.window_box(window) for window in _windows(layout)]
        self.tiles = int(self.plan.wanted.sum())
        self._predictor = predictor_on(self.plan.bundle, settings.device)
        together = max(self._predictor.batch // WINDOW_TILES**2, 1)
        whole = [box for box in self._boxes if box.shape == (side * grid.tile_px,) * 2] or self._boxes[:1]
        sample = whole[:: max(len(whole) // SAMPLE, 1)][: SAMPLE // together * together]
        pixels = [self._read(box) for box in sample]
        self._pixels = [np.stack(pixels[i : i + together]) for i in range(0, len(pixels), together)]
        self._decoders = ProcessPoolExecutor(
            usable_cores(), get_context("spawn"), initializer=_begin, initargs=(settings, work)
        )
        self.decode()  # starts the processes

    def forward(self) -> float:
        """Seconds that the network takes for all tiles without halo, from a sample of windows."""
        started = time.perf_counter()
        for pixels in self._pixels:
            self._predictor.predict(pixels)
        seconds = time.perf_counter() - started
        seen: int = sum(pixels[..., 0].size for pixels in self._pixels)
        return seconds * self.tiles * self.plan.bundle.spec.tile_px**2 / seen

    def read(self) -> float:
        """Seconds of reading every window once, on all cores."""
        started = time.perf_counter()
        with ThreadPoolExecutor(usable_cores()) as threads:
            for _ in threads.map(self._size, self._boxes):
                pass
        return time.perf_counter() - started

    def decode(self) -> float:
        """Seconds of turning the maps on disk into nuclei on disk, on all cores."""
        started = time.perf_counter()
        for _ in self._decoders.map(_decode, self.blocks):
            pass
        return time.perf_counter() - started

    def close(self) -> None:
        """End the processes."""
        self._decoders.shutdown()

    def _read(self, box: Box) -> np.ndarray:
        return read_box(self._slide, self.plan.frame, box)

    def _size(self, box: Box) -> int:
        return self._read(box).size


_WORK: list[BlockWork] = []
"""Of a decoding process."""


def _begin(settings: RunSettings, work: Path) -> None:
    with closing(slide_of(settings)) as slide:
        _WORK.append(BlockWork(plan_run(settings, slide).layout, work))


def _decode(block: Block) -> str:
    return _WORK[0].decode(block).block


def whole_run(settings: RunSettings, out: Path, *options: str) -> dict[str, float]:
    """Run the command; give its seconds, most memory of all its processes, and the seconds by stage."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "wsiseg", "run", str(settings.slide), "--out", str(out)]
    command += ["--model", settings.model, "--reader", settings.reader, "--device", settings.device, *options]
    started, most = time.perf_counter(), 0
    with open(os.devnull, "w") as nowhere:
        process = psutil.Popen(command, stdout=nowhere, stderr=nowhere)
        while process.poll() is None:
            most = max(most, _memory(process))
            time.sleep(LOOK_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.perf_counter() - started
    stages = json.loads((out / "performance.json").read_text())["seconds"]
    return {"whole": seconds, "memory": most, **{f"run:{name}": value for name, value in stages.items()}}


def _memory(process: psutil.Process) -> int:
    """Add up what the processes hold for themselves, and once what they share."""
    try:
        family = [process, *process.children(recursive=True)]
        return sum(one.memory_full_info().pss for one in family)
    except psutil.Error:
        return 0


def measure(settings: RunSettings, folder: Path, repeat: int) -> dict[str, Any]:
    """Take everything in turns, so that whatever disturbs the machine disturbs all of it."""
    kept = folder / "kept"
    whole_run(settings, kept, "--keep-work")
    taken: dict[str, list[float]] = {}
    with closing(slide_of(settings)) as slide, closing(Floors(settings, slide, kept / "work")) as floors:
        parts: dict[str, Callable[[], float]] = {
            "forward": floors.forward, "read": floors.read, "decode": floors.decode,
        }  # fmt: skip
        for _ in range(repeat):
            once = {name: part() for name, part in parts.items()}
            once["floor"] = sum(once.values())
            once |= whole_run(settings, folder / "out")
            once["ratio"] = once["whole"] / once["floor"]
            for name, value in once.items():
                taken.setdefault(name, []).append(value)
        halo = _halo(floors.plan, slide)
        return report(floors, {name: statistics.median(values) for name, values in taken.items()}, halo)


def _halo(plan: RunPlan, slide: PatchedSlide) -> float:
    """Give the network's pixels of a run over those of its tiles."""
    layout = plan.layout
    windows = _windows(layout)
    pixels, _ = read_window(slide, layout, windows[0])
    assert pixels.shape[:2] == layout.grid.window_box(windows[0], layout.halo_px).shape
    seen = sum(np.prod(layout.grid.window_box(window, layout.halo_px).shape) for window in windows)
    return float(seen) / (int(plan.wanted.sum()) * plan.grid.tile_px**2)


def _windows(layout: Layout) -> list[Window]:
    """Give the windows of a run."""
    blocks = layout.active_blocks()
    return [w for b in blocks for w in layout.grid.windows(b, layout.wanted, WINDOW_TILES, layout.halo_px)]


def report(floors: Floors, seconds: dict[str, float], halo: float) -> dict[str, Any]:
    """Give what was measured, and per mm2."""
    mpp = floors.plan.bundle.spec.mpp
    mm2 = floors.tiles * (floors.plan.grid.tile_px * mpp / 1000) ** 2
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": usable_cores()},
        "model": floors.plan.bundle.spec.name,
        "mpp": mpp,
        "tiles": floors.tiles,
        "mm2_of_tiles": round(mm2, 2),
        "ratio": round(seconds.pop("ratio"), 3),
        "peak_memory_mb": round(seconds.pop("memory") / 1e6),
        "halo": round(halo, 3),
        "start_and_end_seconds": round(seconds["whole"] - seconds["run:total"], 2),
        "seconds_per_mm2": round(seconds["whole"] / mm2, 3),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", default="nuclei-025")
    parser.add_argument("--reader", default="openslide")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    settings = RunSettings(slide=args.slide, model=args.model, reader=args.reader, device=args.device)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(settings, Path(folder), args.repeat), indent=2))


if __name__ == "__main__":
    main()
