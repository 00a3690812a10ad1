"""`wsiseg view` of a run with a million nuclei: the first picture, the answers to panning and zooming, and memory.

The run is made of copies of a finished one, laid side by side, without a slide: its small overview stands in. A
person's requests are played over one connection after the other: the tiles of a screen at random places and zooms.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import shapely

from wsiseg import fsio
from wsiseg.export import load_exporter
from wsiseg.export.omezarr import MaskClass, StoreSpec, create_store, read_overview, read_provenance
from wsiseg.geometry import Frame
from wsiseg.run import folder as names
from wsiseg.run.finished import FinishedRun, open_finished
from wsiseg.run.staging import staged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsiseg.nuclei import Nuclei

SCREEN_PX = (1600, 900)
CONNECTIONS = 6
"""What a browser opens to one server."""
_PAINTED = """() => [...document.querySelectorAll("#viewer canvas:not(.outlines)")].some((canvas) => {
  if (!canvas.width) return false;
  const { data } = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1);
  return data[3] > 0;
})"""
"""Whether the middle of the slide is on the screen."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run, whose nuclei are copied")
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--screens", type=int, default=40, help="places that are looked at")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plane = write_copies(open_finished(args.run), args.nuclei, Path(folder) / "run")
        with Viewer(Path(folder) / "run") as viewer:
            print(json.dumps({"opened": first_picture(viewer.url) | viewer.cost()}), flush=True)
            looked = look_around(viewer, plane, args.screens)
            print(json.dumps({"looked_around": looked | viewer.cost()}))


def write_copies(run: FinishedRun, total: int, out: Path) -> Frame:
    """Write a run of `total` nuclei, copies of a run's in a square; give its level-0 plane."""
    record = names.RunFolder(run.path).read_record()
    width, height = record["slide"]["width"], record["slide"]["height"]
    side = ceil(ceil(total / run.total) ** 0.5)
    plane = Frame(width * side, height * side)
    finished, work = names.RunFolder(out), out / "work"
    finished.create()
    finished.begin(record)
    work.mkdir()
    (table,) = load_exporter("geoparquet")(copies(run, total, (width, height)), total, work / "nuclei", run.header)
    summary = work / names.SUMMARY
    content = json.loads((run.path / names.SUMMARY).read_bytes()) | {"nuclei": total, "unreadable_tiles": []}
    fsio.write_atomic(fsio.partial_name(summary), json.dumps(content).encode())
    masks = write_masks(run, plane, work / names.MASKS)
    finished.complete([staged(path) for path in (table, summary, masks)], {"seconds": {"total": 0}})
    return plane


def copies(run: FinishedRun, total: int, size: tuple[int, int]) -> Iterator[Nuclei]:
    """Give a run's nuclei again and again, each time elsewhere; a copy's batch is a row group, as a block's is."""
    batches = list(run.batches())
    side, done = ceil(ceil(total / run.total) ** 0.5), 0
    for copy in range(side * side):
        shift = np.array([copy % side * size[0], copy // side * size[1]])
        for batch in batches:
            part = batch.take(np.arange(min(len(batch), total - done)))
            yield replace(
                part,
                polygon=shapely.transform(part.polygon, lambda points, shift=shift: (points + shift).round(2)),
                centroid_x=part.centroid_x + shift[0],
                centroid_y=part.centroid_y + shift[1],
            ).renumbered(done + 1)
            done += len(part)


def write_masks(run: FinishedRun, plane: Frame, path: Path) -> Path:
    """Write a mask store of that plane without a nucleus: chunks that are not there cost nothing."""
    overview, _ = read_overview(run.masks)
    known = read_provenance(run.masks)["frame"]
    down = known["downsample"]
    spec = StoreSpec(
        frame=Frame(ceil(plane.width / down), ceil(plane.height / down), down),
        mpp=known["mpp"],
        shard_px=4096,
        classes=tuple(MaskClass(one.value, one.name, one.color) for one in run.header.classes),
    )
    height, width = overview.shape[:2]
    create_store(fsio.partial_name(path), spec, overview, Frame(width, height, plane.width / width))
    return path


@dataclass
class Viewer:
    """`wsiseg view` of a folder, as a person starts it."""

    folder: Path

    def __enter__(self) -> Viewer:
        command = [sys.executable, "-m", "wsiseg", "view", str(self.folder), "--no-browser"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def get(self, path: str) -> float:
        """Ask for a path and give the milliseconds until the answer is whole."""
        parts = urlsplit(self.url)
        token = parts.query.partition("=")[2]
        started = time.perf_counter()
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return 1000 * (time.perf_counter() - started)

    def cost(self) -> dict[str, float]:
        """Give the server's largest memory and its seconds of a processor (Linux)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000
        return {"server_peak_mb": round(peak), "server_cpu_s": round(seconds, 2)}


def first_picture(url: str) -> dict[str, float]:
    """Open the page in headless Chromium; give the seconds until it shows the slide, and until nuclei show too."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": SCREEN_PX[0], "height": SCREEN_PX[1]})
        started = time.perf_counter()
        page.goto(url)
        page.wait_for_function(_PAINTED)
        picture = time.perf_counter() - started
        page.wait_for_selector("body[data-loaded=true]", timeout=120_000)
        drawn = time.perf_counter() - started
        browser.close()
    return {"picture_s": round(picture, 2), "all_drawn_s": round(drawn, 2)}


def look_around(viewer: Viewer, plane: Frame, screens: int) -> dict[str, Any]:
    """Ask for what screens at random places show, at full zoom and at a quarter; then step each aside by half."""
    side = json.loads(_body(viewer, "/slide/0/nuclei.json"))["side"]
    rng, waits, answers = np.random.default_rng(0), [], []
    with ThreadPoolExecutor(CONNECTIONS) as browser:
        for number in range(screens):
            step = (4, 1)[number % 2]  # level-0 pixels a screen pixel
            width, height = (step * px for px in SCREEN_PX)
            x, y = rng.uniform(0, (plane.width - width, plane.height - height))
            for left in (x, x + width / 2):
                columns = range(int(left // side), int((left + width) // side) + 1)
                rows = range(int(y // side), int((y + height) // side) + 1)
                started = time.perf_counter()
                paths = [f"/slide/0/nuclei/{column}_{row}" for row in rows for column in columns]
                answers += browser.map(viewer.get, paths)
                waits.append(1000 * (time.perf_counter() - started))
    return {
        "answer_ms": {"median": statistics.median(answers), "p95": float(np.percentile(answers, 95))},
        "screen_ms": {"median": statistics.median(waits), "p95": float(np.percentile(waits, 95))},
        "answers": len(answers),
    }


def _body(viewer: Viewer, path: str) -> bytes:
    parts = urlsplit(viewer.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {parts.query.partition('=')[2]}"})
    return connection.getresponse().read()


if __name__ == "__main__":
    main()
