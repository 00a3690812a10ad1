"""What is measured while a network learns: figures of each batch, and their means over each epoch."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from wsiseg.train.confusion import Confusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    Row = dict[str, float]
    """One epoch: a line of `epochs.csv` without its seconds."""


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """How well a batch was told apart; IoU and F-score are those of the thesis' library (`Confusion`)."""

    loss: float
    iou: float
    fscore: float

    @classmethod
    def of(cls, loss: Tensor, truth: Tensor, found: Tensor, counted: Tensor) -> Self:
        """Compare two masks where a third is set; all of one shape."""
        pixels = Confusion.of(*(mask.cpu().numpy() for mask in (truth, found, counted)))
        return cls(loss.item(), pixels.iou, pixels.fscore)


FIGURES = tuple(field.name for field in fields(BatchFigures))


def mean_figures(batches: Sequence[BatchFigures], column: str) -> Row:
    """Average figures over batches.

    Parameters
    ----------
    column
        Pattern of the columns' names, with {} for the figure's.
    """
    return {column.format(name): sum(getattr(batch, name) for batch in batches) / len(batches) for name in FIGURES}


class EpochLog:
    """The rows of finished epochs, and the batches of the one under way."""

    def __init__(self, rows: Sequence[Row] = (), batches: Sequence[Sequence[float]] = ()) -> None:
        self.rows: list[Row] = list(rows)
        self._batches = [BatchFigures(*values) for values in batches]

    def add(self, figures: BatchFigures) -> None:
        """Take in a batch of the training."""
        self._batches.append(figures)

    def close(self, step: int, learning_rate: float, validation: Row) -> Row:
        """End the epoch that has reached a step, and give its row."""
        start: Row = {"epoch": len(self.rows) + 1, "step": step, "learning_rate": learning_rate}
        self.rows.append({**start, **mean_figures(self._batches, "train_{}"), **validation})
        self._batches = []
        return self.rows[-1]

    def state(self) -> dict[str, Any]:
        """Give what a new log needs to go on from here, as JSON has it."""
        return {
            "rows": self.rows,
            "batches": [[getattr(batch, name) for name in FIGURES] for batch in self._batches],
        }


class Stopwatch:
    """Wall seconds by epoch, over all executions of a training."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        """By the epoch's number."""
        self._last = time.monotonic()

    def lap(self, epoch: int) -> None:
        """Count what has passed since the last lap towards an epoch."""
        now = time.monotonic()
        self.seconds[str(epoch)] = self.seconds.get(str(epoch), 0.0) + now - self._last
        self._last = now
