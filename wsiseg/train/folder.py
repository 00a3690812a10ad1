"""What a training keeps in its output folder, and whether that folder is its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsiseg import fsio
from wsiseg.errors import SettingsError
from wsiseg.models.bundle import SPEC_FILE, ModelBundle, load_bundle
from wsiseg.train.checkpoint import load_checkpoint, read_state, same_training, save_checkpoint
from wsiseg.train.curves import draw_curves, write_epochs
from wsiseg.train.epochs import EpochLog, Stopwatch

if TYPE_CHECKING:
    from pathlib import Path

    from wsiseg.train.config import TrainConfig
    from wsiseg.train.trainer import Trainer


CHECKPOINT, CONFIG, BUNDLE = "checkpoint.safetensors", "config.json", "bundle"
EPOCHS, CURVES = "epochs.csv", "curves.png"
PERFORMANCE = "performance.json"
"""Seconds are kept apart from the checkpoint, which must not depend on how fast it came about."""


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """The output folder of one training."""

    path: Path
    config: TrainConfig

    @property
    def checkpoint(self) -> Path:
        """The whole state after some step."""
        return self.path / CHECKPOINT

    @property
    def bundle(self) -> Path:
        """The folder of what comes out."""
        return self.path / BUNDLE

    def clear(self) -> None:
        """Remove what an earlier training left, the bundle's description first: it says that all is complete."""
        for name in (f"{BUNDLE}/{SPEC_FILE}", CHECKPOINT, CONFIG, EPOCHS, CURVES, PERFORMANCE):
            fsio.remove(self.path / name)

    def claim(self) -> None:
        """Write down the config.

        Raises
        ------
        SettingsError
            E-CONFIG: the folder holds the training of another config.
        """
        record = self.config.as_dict()
        if self.checkpoint.exists() and not same_training(read_state(self.checkpoint)["config"], record):
            raise SettingsError(
                "E-CONFIG",
                "the checkpoint belongs to another config",
                where=self.checkpoint,
                fix="choose another folder, or begin anew with --fresh",
            )
        fsio.write_atomic(self.path / CONFIG, json.dumps(record, indent=1).encode() + b"\n")

    def finished(self) -> ModelBundle | None:
        """Open the bundle of this very config if it has been made: it is the last thing that a training writes."""
        if not (self.checkpoint.exists() and (self.bundle / SPEC_FILE).is_file()):
            return None
        bundle = load_bundle(self.bundle)
        same = bundle.spec.training.get("config") == json.loads(json.dumps(self.config.as_dict()))
        return bundle if same else None

    def stopwatch(self) -> Stopwatch:
        """Give a stopwatch that goes on from the seconds of earlier executions."""
        try:
            seconds: dict[str, float] = json.loads((self.path / PERFORMANCE).read_bytes())["epoch_seconds"]
        except (OSError, ValueError, KeyError, TypeError):  # never more than a loss of seconds
            seconds = {}
        return Stopwatch(seconds)

    def restore(self, trainer: Trainer) -> EpochLog:
        """Bring a trainer to where the checkpoint is, if there is one, and give the log of epochs until there."""
        if not self.checkpoint.exists():
            return EpochLog()
        groups, state = load_checkpoint(self.checkpoint)
        trainer.restore(groups, state)
        return EpochLog(**state["epochs"])

    def save(self, trainer: Trainer, log: EpochLog, stopwatch: Stopwatch) -> None:
        """Keep where a training is."""
        groups, state = trainer.state()
        record: dict[str, Any] = {**state, "config": self.config.as_dict(), "epochs": log.state()}
        save_checkpoint(self.checkpoint, groups, record)
        fsio.write_atomic(
            self.path / PERFORMANCE, json.dumps({"epoch_seconds": stopwatch.seconds}).encode() + b"\n"
        )

    def show(self, log: EpochLog, stopwatch: Stopwatch) -> None:
        """Write the finished epochs as a table and as curves; both follow from the checkpoint."""
        if log.rows:
            write_epochs(self.path / EPOCHS, log.rows, stopwatch.seconds)
            draw_curves(self.path / CURVES, log.rows)
