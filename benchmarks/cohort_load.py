"""What a scheduler and a driver carry: pretended tasks of pretended slides through the real ones.

Real are Dask's scheduler and wire, the driver's loop, its ledgers and run directories; pretended are the slides
and what a worker does with them: it waits. So one machine can play a large cluster, and the seconds of CPU that
driver and scheduler take a block tell how large it may be.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from distributed import Worker, get_worker

from wsiseg.cohort import tasks
from wsiseg.cohort.listing import CohortSlide, Listing
from wsiseg.cohort.pipeline import Workplace, run_cohort
from wsiseg.cohort.progress import Unwatched
from wsiseg.models.bundle import load_bundle
from wsiseg.run import RunSettings
from wsiseg.run.folder import GEOJSON, MASKS, OVERVIEW, PARQUET, REPORT, SUMMARY
from wsiseg.run.ledger import MAPS, NUCLEI, Entry
from wsiseg.run.meter import Meter
from wsiseg.run.staging import new_attempt, staged
from wsiseg.tiling import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsiseg.cohort.book import SlideOutcome
    from wsiseg.cohort.station import Job
    from wsiseg.run.gaps import Tiles
    from wsiseg.run.staging import Staged

SECONDS, BLOCKS = "WSISEG_PRETENDED_SECONDS", "WSISEG_PRETENDED_BLOCKS"
"""Environment variables: seconds of a device a block, blocks a slide."""
TILES = 256
"""Of a block."""
CPU_SLOTS = 2
MOST_WORKERS = 32
"""Of one process."""

# -- what workers pretend -------------------------------------------------------------------------------------


def muster(settings: RunSettings, _make: str) -> tasks.Offer:
    """Offer a device and two places beside it."""
    numerics = {"device": "pretended"}
    bundle = load_bundle(settings.model).sha256
    return tasks.Offer(tasks.versions(), bundle, tasks.DEVICE_SLOTS, CPU_SLOTS, numerics, batch=1)


def plan(settings: RunSettings) -> tasks.Planned:
    """Plan a square slide."""
    name = settings.slide.name
    record = {
        "schema": 1, "wsiseg": tasks.versions()["wsiseg"], "slide": {"name": name, "fingerprint": name},
        "mpp": {}, "bundle": {}, "settings": settings.decisive(), "versions": {},
    }  # fmt: skip
    count = int(os.environ[BLOCKS])
    side = isqrt(count - 1) + 1
    tiles = {Block(i // side, i % side): TILES for i in range(count)}
    return tasks.Planned(record, name, bytes(200), tiles)


def infer(_job: Job, block: Block, _make: str) -> tuple[Entry, Meter]:
    """Wait for the device, then as long as it would take."""
    device = get_worker().extensions.setdefault("pretended", threading.Lock())
    with device:
        time.sleep(float(os.environ[SECONDS]))
    return Entry(MAPS, block.name, 1 << 31, {"tiles": TILES}), Meter(tiles=TILES, forward=1.0)


def decode(_job: Job, block: Block) -> tuple[Entry, Meter]:
    """Wait a third of that, as decoding takes."""
    time.sleep(float(os.environ[SECONDS]) / 3)
    facts = {"nuclei": 1000, "oversized": 0, "repaired": 0, "outside": 0}
    return Entry(NUCLEI, block.name, 1 << 31, facts), Meter()


def tables(job: Job, facts: tasks.Facts, _lost: Tiles) -> tuple[list[Staged], Meter]:
    """Write files of the right names."""
    nuclei = sum(fact["nuclei"] for fact in facts.values())
    summary = {
        "slide": {"mpp": 0.25, "mpp_source": "pretended"}, "model": {"name": "none", "version": "0"},
        "tiles": {"unreadable": 0}, "nuclei": nuclei, "tissue_mm2": 1.0, "nuclei_per_mm2": nuclei,
        "area_um2": {"mean": 40.0},
    }  # fmt: skip
    attempt = new_attempt(job.work)
    for name in (PARQUET, GEOJSON[0], OVERVIEW, REPORT, SUMMARY):
        (attempt / f"{name}.partial").write_text(json.dumps(summary))
    results = [staged(attempt / name) for name in (PARQUET, GEOJSON[0], OVERVIEW, REPORT, SUMMARY)]
    return results, Meter(stages={"tables": 0.0})


def masks(job: Job, facts: tasks.Facts, _lost: Tiles) -> tuple[list[Staged], Meter]:
    """Write a store with a file for each block and the levels above."""
    folder = new_attempt(job.work) / f"{MASKS}.partial"
    folder.mkdir()
    for number in range(2 * max(len(facts) * 4 // 3, 1)):
        (folder / f"{number}").write_bytes(b"shard")
    return [staged(folder.with_name(MASKS))], Meter(stages={"masks": 0.0})


PRETENDED = (muster, plan, infer, decode, tables, masks)


async def crew(scheduler: str, count: int) -> None:
    """Be many workers in one process, until it is ended."""
    options = {"nthreads": tasks.DEVICE_SLOTS + CPU_SLOTS, "memory_limit": 0, "dashboard": False}
    workers = [await Worker(scheduler, name=f"{os.getpid()}-{i}", **options) for i in range(count)]
    await asyncio.gather(*(worker.finished() for worker in workers))


# -- the measurement ------------------------------------------------------------------------------------------


@dataclass
class Curve(Unwatched):
    """Counts, and notes memory and seconds of CPU on the way."""

    driver: psutil.Process
    scheduler: psutil.Process
    started: float = field(default_factory=time.perf_counter)
    tiles: int = 0
    first: float = 0.0
    ended_slides: int = 0
    points: list[dict[str, Any]] = field(default_factory=list)
    slides: int = 0

    def begin(self, slides: int, done: int) -> None:
        """Take in how many there are."""
        self.slides = slides

    def inferred(self, tiles: int) -> None:
        """Count."""
        self.first = self.first or time.perf_counter()
        self.tiles += tiles

    def ended(self, outcome: SlideOutcome) -> None:
        """Note them twenty times."""
        assert outcome.state == "complete", outcome
        self.ended_slides += 1
        if self.ended_slides % max(self.slides // 20, 1) == 0:
            self.points.append(self.point())

    def point(self) -> dict[str, Any]:
        """Give where it stands."""
        return {
            "seconds": round(time.perf_counter() - self.started, 1),
            "slides": self.ended_slides,
            "driver_cpu": round(sum(self.driver.cpu_times()[:2]), 2),
            "scheduler_cpu": round(sum(self.scheduler.cpu_times()[:2]), 2),
            "driver_mb": round(self.driver.memory_info().rss / 1e6, 1),
            "scheduler_mb": round(self.scheduler.memory_info().rss / 1e6, 1),
        }


@contextmanager
def own_scheduler(folder: Path, workers: list[list[str]]) -> Iterator[tuple[str, psutil.Process]]:
    """Start a scheduler and worker commands, to which its address is added; give its address and process."""
    file = folder / "scheduler.json"
    command = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    path["DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH"] = "50"  # as docs/scale.md advises
    with open(folder / "log", "w") as log:
        options: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": folder, "env": path}
        scheduler = psutil.Popen([sys.executable, *command, "--scheduler-file", str(file)], **options)
        while not file.is_file():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        crews = [subprocess.Popen([sys.executable, *one, address], **options) for one in workers]
        try:
            yield address, scheduler
        finally:
            for process in (*crews, scheduler):
                process.kill()
                process.wait()


def simulate(folder: Path, workers: int, slides: int, blocks: int, seconds: float) -> dict[str, Any]:
    """Lead pretended slides over pretended workers; give rates, costs and memory."""
    os.environ[SECONDS], os.environ[BLOCKS] = str(seconds), str(blocks)
    for function in PRETENDED:
        setattr(tasks, function.__name__, function)
    listing = Listing(tuple(CohortSlide(f"s{i:06d}", Path(f"/pretended/s{i:06d}")) for i in range(slides)), ())
    processes = -(-workers // MOST_WORKERS)
    command = [str(Path(__file__).resolve()), str(workers // processes)]
    with own_scheduler(folder, [command] * processes) as (address, scheduler):
        curve = Curve(psutil.Process(), scheduler)
        shared = RunSettings(slide=Path(), device="cpu", tissue="none")
        run_cohort(listing, shared, folder / "out", Workplace(address), curve)
    wall = time.perf_counter() - curve.first
    at_work = workers // processes * processes
    first, last = curve.points[0], curve.points[-1]  # what starting takes lies before the first

    def cost(name: str) -> float:
        return round((last[name] - first[name]) * 1000 / ((last["slides"] - first["slides"]) * blocks), 2)

    return {
        "workers": at_work,
        "slides": slides,
        "blocks": slides * blocks,
        "seconds_a_block_on_a_device": seconds,
        "blocks_per_second": round(slides * blocks / wall, 1),
        "devices_busy": round(slides * blocks * seconds / wall / at_work, 3),
        "driver_cpu_ms_a_block": cost("driver_cpu"),
        "scheduler_cpu_ms_a_block": cost("scheduler_cpu"),
        "curve": curve.points,
    }


if __name__ == "__main__":
    asyncio.run(crew(sys.argv[2], int(sys.argv[1])))
