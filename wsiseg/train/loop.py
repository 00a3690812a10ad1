"""A whole training on one page: from a config and data folders to a bundle.

Everything random in a step follows from (seed, step) alone. So a training that was killed and started again
takes the same steps, and a checkpoint needs no random state.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsiseg import fsio
from wsiseg.models.bundle import load_bundle
from wsiseg.run.lock import locked
from wsiseg.train.batches import Batches, read_crops
from wsiseg.train.distributed import joined
from wsiseg.train.export import export_bundle
from wsiseg.train.folder import TrainingFolder
from wsiseg.train.optimiser import rate_at
from wsiseg.train.tasks import task_of
from wsiseg.train.trainer import Trainer
from wsiseg.train.validate import Validation

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.train.config import TrainConfig
    from wsiseg.train.distributed import World
    from wsiseg.train.epochs import BatchFigures, Row

    Tell = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a training tells after each step."""

    step: int
    steps: int
    epochs: int
    loss: float
    """Of this step's batch."""
    row: Row | None
    """The figures of an epoch that this step has ended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a training."""

    bundle: ModelBundle
    already_complete: bool
    """Whether there was nothing to do."""


def train(
    config: TrainConfig,
    out: Path,
    data: Path,
    device: str = "auto",
    *,
    fresh: bool = False,
    progress: Tell = lambda _: None,
) -> Outcome:
    """Train a model, or continue its training, and export it.

    Started by torchrun, all its processes train together; the one of rank 0 alone writes and tells.

    Parameters
    ----------
    out
        Folder for everything that comes out; a killed training continues from it.
    data
        Folder that holds the config's sources.
    device
        As for `wsiseg.models.devices.choose_device`.
    fresh
        Begin anew, whatever `out` holds.
    progress
        Called after every step.

    Raises
    ------
    SettingsError
        E-CONFIG, E-DATA, E-DEVICE or E-WEIGHTS, or the checkpoint in `out` belongs to another config.
    OutputError
        E-LOCKED: another process trains in `out`.
    InternalError
        E-NONFINITE: the loss is not a number.
    """
    folder = TrainingFolder(out, config)
    with joined(device) as world, _hold(out, world):
        if world.leads and fresh:
            folder.clear()
        world.wait()
        if finished := folder.finished():
            return Outcome(finished, already_complete=True)
        if world.leads:
            folder.claim()
        world.wait()
        _run(folder, data, world, progress)
        if world.leads:
            export_bundle(config, folder.checkpoint, folder.bundle)
        world.wait()
        return Outcome(load_bundle(folder.bundle), already_complete=False)


def _hold(out: Path, world: World) -> AbstractContextManager[None]:
    if not world.leads:
        return nullcontext()
    with fsio.explained(out):
        out.mkdir(parents=True, exist_ok=True)
    return locked(out)


def _run(folder: TrainingFolder, data: Path, world: World, progress: Tell) -> None:
    """Take the steps that are left."""
    config, schedule = folder.config, folder.config.schedule
    places = world.places(schedule.batch)
    trainer = Trainer(config, data, world)
    crops = read_crops(config, data, task_of(config.draft_spec()))
    record = _Record(folder, trainer, Validation(config, data, world.device)) if world.leads else None
    if record is None:
        folder.restore(trainer)
    with Batches(config, crops, places) as batches:
        while trainer.step < schedule.steps:
            figures = trainer.advance(batches.get(trainer.step))
            if record:
                row = record.keep(figures)
                progress(Progress(trainer.step, schedule.steps, schedule.epochs, figures.loss, row))


class _Record:
    """What the leading process alone does: sum up epochs, validate, write."""

    def __init__(self, folder: TrainingFolder, trainer: Trainer, validation: Validation) -> None:
        self._folder = folder
        self._trainer = trainer
        self._validation = validation
        self._log = folder.restore(trainer)
        self._stopwatch = folder.stopwatch()
        folder.show(self._log, self._stopwatch)

    def keep(self, figures: BatchFigures) -> Row | None:
        """Take in a step, save where it is due, and give the row of the epoch if this was its end."""
        trainer, schedule = self._trainer, self._trainer.config.schedule
        self._log.add(figures)
        row = None
        if trainer.step % schedule.steps_per_epoch == 0:
            validation = self._validation.figures(trainer.weights, trainer.autocast())
            row = self._log.close(trainer.step, rate_at(trainer.step - 1, schedule), validation)
        if row or trainer.step % schedule.checkpoint_every == 0:
            self._stopwatch.lap(-(-trainer.step // schedule.steps_per_epoch))
            self._folder.save(trainer, self._log, self._stopwatch)
        if row:
            self._folder.show(self._log, self._stopwatch)
        return row
