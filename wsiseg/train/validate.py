"""Figures of a network in training on the validation fields, without decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsiseg.models.network import build_network
from wsiseg.train.batches import Batch
from wsiseg.train.crops import center_crop, whole_field
from wsiseg.train.data import load_field, read_index
from wsiseg.train.epochs import BatchFigures, mean_figures
from wsiseg.train.pixels import normalised, targets_and_weight
from wsiseg.train.tasks import task_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from wsiseg.train.config import TrainConfig
    from wsiseg.train.data import TrainingField
    from wsiseg.train.tasks import Task

_STRIDE_PX = 32
"""The encoder halves the image five times."""


class Validation:
    """The validation fields of all sources: batches of their middles if the training sees those, else singly."""

    def __init__(self, config: TrainConfig, root: Path, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._task = task_of(config.draft_spec())
        part = self._task.part(build_network(config.draft_spec()))
        self._network = part.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._sources = {
            source.folder: list(_batches(config, _fields(root / source.folder, self._task), self._task.mpp))
            for source in config.sources
        }

    @torch.inference_mode()
    def figures(self, weights: dict[str, Tensor], context: torch.autocast) -> dict[str, float]:
        """Give mean loss, IoU and F-score over the batches, and those of each source where there are several.

        Parameters
        ----------
        weights
            The tensors of what learns.
        context
            What the network computes in.
        """
        self._network.load_state_dict(weights)
        with context:  # the losses take float32, whatever the context
            found = {name: [self._of(batch) for batch in batches] for name, batches in self._sources.items()}
        figures = mean_figures([each for batches in found.values() for each in batches], "val_{}")
        if len(found) > 1:
            for name, batches in found.items():
                figures |= mean_figures(batches, "val_{}:" + name)
        return figures

    def _of(self, batch: Batch) -> BatchFigures:
        model = self._config.model
        logits = self._network(normalised(batch.pixels, model.mean, model.std, self._device)).float()
        targets, weight = targets_and_weight(batch.planes, self._device)
        return self._task.figures(self._task.loss(logits, targets, weight), logits, targets, weight)


def _fields(folder: Path, task: Task) -> Iterator[TrainingField]:
    return (load_field(entry, task) for entry in read_index(folder, "val"))


def _batches(config: TrainConfig, fields: Iterator[TrainingField], mpp: float) -> Iterator[Batch]:
    schedule = config.schedule
    if schedule.crop == "random":
        return (Batch.of([whole_field(field, mpp, _STRIDE_PX)]) for field in fields)
    crops = [center_crop(field, mpp, schedule.crop_px) for field in fields]
    starts = range(0, len(crops), schedule.batch)
    return (Batch.of(crops[start : start + schedule.batch]) for start in starts)
