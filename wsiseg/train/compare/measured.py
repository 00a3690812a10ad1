"""A model with what was measured of it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsiseg.train.bootstrap import intervals
from wsiseg.train.compare.speed import TILE_PX
from wsiseg.train.sums import Sums, share

if TYPE_CHECKING:
    from wsiseg.train.compare.runs import Run
    from wsiseg.train.scores import EvaluationResult


@dataclass(frozen=True, slots=True)
class Measured:
    """A model, its size and speed, and its evaluation."""

    run: Run
    parameters: int
    tiles_per_second: float
    evaluation: EvaluationResult | None
    """On whole fields; None where no fields were given."""

    @property
    def seconds_per_mm2(self) -> float:
        """Seconds of the network alone for a mm2 of tissue at the model's resolution."""
        tile_mm = TILE_PX * self.run.bundle.spec.mpp / 1000
        return 1 / (self.tiles_per_second * tile_mm**2)

    @property
    def iou(self) -> float | None:
        """How well it tells nucleus from background: on whole fields, or else in training at the best epoch."""
        if self.evaluation:
            iou: float = self.evaluation.summary()["thesis"]["iou"]
            return iou
        return self.run.best.val.iou if self.run.epochs else None

    @property
    def iou_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `iou` over patients, where that can be told."""
        if not self.evaluation:
            return None
        parts = ((field.group, _MeanIou(1, field.pixels.iou)) for field in self.evaluation.fields if field.pixels)
        return intervals(parts)["iou"]


@dataclass(frozen=True, slots=True)
class _MeanIou(Sums):
    """IoU of fields, each counted alike."""

    FIGURES: ClassVar[tuple[str, ...]] = ("iou",)

    fields: int = 0
    iou_sum: float = 0.0

    @property
    def iou(self) -> float:
        return share(self.iou_sum, self.fields)
