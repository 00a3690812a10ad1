"""Batches of crops, augmented, made while the network works on earlier ones.

A crop follows from the config's seed, its step and its place in the batch alone. So it does not matter which
process or thread makes it, or when: a training that was killed takes the same steps again.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from wsiseg.host import usable_cores
from wsiseg.train.augment import augment
from wsiseg.train.crops import CenterCrops, RandomCrops, center_crop
from wsiseg.train.data import load_field, read_index

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from wsiseg.train.config import TrainConfig
    from wsiseg.train.crops import Crop, Crops
    from wsiseg.train.tasks import Task

_CROP = 0
"""Keeps the random numbers of crops apart from those of passes."""
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops of one size."""

    pixels: npt.NDArray[np.uint8]
    """(n, h, w, 3) RGB."""
    planes: npt.NDArray[np.uint8]
    """(n, h, w, planes + 1): targets and, last, where they count; 255 stands for 1."""

    @classmethod
    def of(cls, crops: Sequence[Crop]) -> Self:
        """Stack crops."""
        return cls(np.stack([pixels for pixels, _ in crops]), np.stack([planes for _, planes in crops]))


class Batches:
    """The batches of a training, by step.

    Parameters
    ----------
    places
        Which of each batch's crops are wanted: a process among several makes its own share.
    """

    def __init__(self, config: TrainConfig, crops: Crops, places: range) -> None:
        self._config = config
        self._crops = crops
        self._places = places
        # On a CPU the network itself takes `threads` cores.
        self._ahead = min(max(usable_cores() - config.schedule.threads, 1), _MOST_THREADS)
        self._pool = ThreadPoolExecutor(self._ahead, "batches")
        self._coming: dict[int, Future[Batch]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def get(self, step: int) -> Batch:
        """Give the batch of a step, and begin those of the next steps."""
        for coming in range(step, min(step + self._ahead + 1, self._config.schedule.steps)):
            if coming not in self._coming:
                self._coming[coming] = self._pool.submit(self._make, coming)
        return self._coming.pop(step).result()

    def _make(self, step: int) -> Batch:
        return Batch.of([self._crop(step, place) for place in self._places])

    def _crop(self, step: int, place: int) -> Crop:
        schedule = self._config.schedule
        random = np.random.default_rng([_CROP, schedule.seed, step, place])
        crop = self._crops.draw(step * schedule.batch + place, random)
        return augment(*crop, self._config.augmentation, random)


def read_crops(config: TrainConfig, root: Path, task: Task) -> Crops:
    """Read the training fields of all sources.

    Raises
    ------
    SettingsError
        E-DATA: a source cannot be used.
    """
    schedule = config.schedule
    for source in config.sources:
        task.check(root / source.folder)
    entries = [read_index(root / source.folder, "train") for source in config.sources]
    if schedule.crop == "random":
        return RandomCrops(config, task.mpp, [[load_field(entry, task) for entry in source] for source in entries])
    crops = [
        center_crop(load_field(entry, task), task.mpp, schedule.crop_px) for source in entries for entry in source
    ]
    return CenterCrops(crops, schedule.seed)
