"""What a worker process keeps between tasks: the network, reading threads, open slides.

Knows of Dask only that somebody calls it from several threads at once.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from wsiseg.cohort.network import NetworkThread
from wsiseg.models.bundle import load_bundle
from wsiseg.run.blocks import READS_QUEUED, BlockWork
from wsiseg.run.plan import Layout, plan_run, slide_of
from wsiseg.tiling import TileGrid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.run.plan import RunPlan
    from wsiseg.run.settings import RunSettings
    from wsiseg.slides import PatchedSlide

OPEN_SLIDES = 4
"""Slides that a worker keeps open beside those that it works on."""
KEPT_PLANS = 8
"""Plans that a worker keeps for when their slides are finished."""
PLANNED_SLIDES = 2
"""Slides that a worker has planned and keeps open for their first block."""


@dataclass(frozen=True, slots=True)
class Job:
    """One slide's run as workers need to know it: paths and numbers."""

    settings: RunSettings
    work: Path
    """The run's working folder."""
    fingerprint: str
    """Of the slide when it was planned."""
    wanted: bytes
    """Its wanted tiles, packed: a worker need not look for tissue, and none can find another."""


@dataclass(eq=False)
class OpenRun:
    """A run whose slide is open."""

    pool: PatchedSlide
    blocks: BlockWork
    users: int = 0


class Station:
    """The shared things of one worker process.

    Parameters
    ----------
    threads
        Cores that this worker may use: threads that read, and of a network on a CPU.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.readers = ThreadPoolExecutor(threads + READS_QUEUED, "read")
        self._lock = threading.Lock()
        self._network: tuple[object, NetworkThread] | None = None
        self._runs: OrderedDict[Job, OpenRun] = OrderedDict()
        self._plans: OrderedDict[RunSettings, RunPlan] = OrderedDict()
        self._planned: OrderedDict[RunSettings, PatchedSlide] = OrderedDict()
        cv2.setNumThreads(1)  # tasks run beside each other; each has one core's worth

    def network(self, settings: RunSettings, make: str) -> NetworkThread:
        """Give the network that settings ask for; a worker holds one at a time.

        Parameters
        ----------
        make
            `module:function` of (bundle, settings, threads) that makes the predictor.
        """
        bundle = load_bundle(settings.model)
        key = (bundle.sha256, settings.device, settings.batch, make)
        with self._lock:
            if self._network is None or self._network[0] != key:
                if self._network is not None:
                    self._network[1].close()
                self._network = key, NetworkThread(lambda: _named(make)(bundle, settings, self.threads))
            return self._network[1]

    def plan(self, settings: RunSettings) -> RunPlan:
        """Plan a run; its slide stays open for its first block, its plan is kept until it is finished."""
        slide = slide_of(settings)
        try:
            planned = plan_run(replace(settings, workers=max(self.threads // 2, 1)), slide)
        except BaseException:
            slide.close()
            raise
        with self._lock:
            self._plans[settings] = planned
            if len(self._plans) > KEPT_PLANS:
                self._plans.popitem(last=False)
            spare = [self._planned.pop(settings, None)]
            self._planned[settings] = slide
            if len(self._planned) > PLANNED_SLIDES:
                spare.append(self._planned.popitem(last=False)[1])
        for one in filter(None, spare):
            one.close()
        return planned

    def plan_of(self, job: Job) -> RunPlan:
        """Give the plan of a run that is being finished: the one remembered, or made again."""
        with self._lock:
            planned = self._plans.get(job.settings)
        if planned is not None and planned.slide_fingerprint == job.fingerprint:
            return planned
        return self.plan(job.settings)

    @contextmanager
    def opened(self, job: Job) -> Iterator[OpenRun]:
        """Hold a run open; the least recently used ones are closed when there are too many."""
        with self._lock:
            run = self._runs.get(job) or _open(job, self._planned.pop(job.settings, None))
            self._runs[job] = run
            self._runs.move_to_end(job)
            run.users += 1
        try:
            yield run
        finally:
            with self._lock:
                run.users -= 1
                idle = [one for one, other in self._runs.items() if not other.users]
                for one in idle[: max(len(idle) - OPEN_SLIDES, 0)]:
                    self._runs.pop(one).pool.close()


def _named(make: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    module, name = make.split(":")
    return getattr(import_module(module), name)


def _open(job: Job, slide: PatchedSlide | None) -> OpenRun:
    settings = job.settings
    pool = slide or slide_of(settings)
    bundle = load_bundle(settings.model)
    frame = pool.info.frame_at(bundle.spec.mpp)
    grid = TileGrid(frame, bundle.spec.tile_px)
    layout = Layout(bundle, pool.info, frame, grid, unpacked(job.wanted, grid.shape))
    return OpenRun(pool, BlockWork(layout, job.work))


def packed(wanted: npt.NDArray[np.bool_]) -> bytes:
    """Pack a grid of yes and no: a few hundred bytes a slide."""
    return zlib.compress(np.packbits(wanted).tobytes())


def unpacked(data: bytes, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Give the (rows, columns) that were packed."""
    bits = np.frombuffer(zlib.decompress(data), np.uint8)
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
