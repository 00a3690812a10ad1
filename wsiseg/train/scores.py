"""What an evaluation found: a score for each field, and the document of figures that comes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsiseg.train.bootstrap import intervals
from wsiseg.train.sums import pooled
from wsiseg.train.typescores import type_figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsiseg.models.bundle import ModelBundle
    from wsiseg.train.classes import TrueClasses
    from wsiseg.train.confusion import Confusion
    from wsiseg.train.metrics import Detections, OutlineCounts
    from wsiseg.train.sums import Sums
    from wsiseg.train.types import TypeCounts

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class FieldScore:
    """One field; what its truth cannot tell is None."""

    image: str
    """Path below the data folder."""
    group: str
    """Patient or organ."""
    nuclei: Detections
    """`Counts` where the truth is an instance map, plain detections where it is dots."""
    outlined: OutlineCounts | None = None
    pixels: Confusion | None = None
    types: TypeCounts | None = None
    """Where both the bundle and the field's truth tell nuclei apart."""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Figures of one bundle on one split."""

    bundle: ModelBundle
    data: str
    """Name of the data folder."""
    split: str
    boxes: str
    """`ignore` or `count`: what became of true nuclei that are boxes."""
    fields: tuple[FieldScore, ...]
    classes: TrueClasses | None = None
    """Those of the data and of the bundle; None for a bundle of one class."""

    @property
    def total(self) -> Detections:
        """The sums of all fields together."""
        return pooled(field.nuclei for field in self.fields)

    def as_dict(self) -> dict[str, Any]:
        """Give what `wsiseg evaluate --json` prints: `summary`, and what follows.

        Returns
        -------
        bundle_sha256
            Of the bundle's `model.json`, which names its weights by theirs.
        per_image
            A row for each field: image, group, nuclei_true, nuclei_predicted and the figures of `pooled`.
        """
        rows = [
            {
                "image": field.image,
                "group": field.group,
                **_found(field.nuclei),
                **_rounded(field.nuclei.figures()),
            }
            for field in self.fields
        ]
        return {"bundle_sha256": self.bundle.sha256, **self.summary(), "per_image": rows}

    def summary(self) -> dict[str, Any]:
        """Give the figures of the whole split, with 4 decimals.

        Returns
        -------
        bundle, version, data, split, boxes
            What was scored, and on what.
        truth
            `instances` or `dots`.
        images, groups, nuclei_true, nuclei_predicted
            Numbers of each; a group is a patient or an organ, and a dot is a true nucleus.
        pooled
            Figures from the sums over all images (`Counts`; for dots `Detections`).
        mean_of_images
            The figures of single images, averaged.
        intervals
            [low, high] of each pooled figure: 95 % of draws of whole groups (`bootstrap.intervals`); null where
            there is one group only.
        outlined
            True nuclei that are not boxes, whatever `boxes` says: how many, recall at IoU 0.5, Dice with the best
            predicted nucleus as a mean over nuclei and pooled (`OutlineCounts`), and intervals; null for dots.
        thesis
            `iou` and `fscore` as the thesis' library has them, of each image as a batch of one, averaged;
            `keras_mean_iou` of all pixels together (`Confusion`). Of the probability map at 0.5; null for dots.
        types
            What nuclei are taken for (`type_figures`); there only where bundle and truth tell them apart.
        """
        nuclei = [field.nuclei for field in self.fields]
        return {
            "bundle": self.bundle.spec.name,
            "version": self.bundle.spec.version,
            "data": self.data,
            "split": self.split,
            "boxes": self.boxes,
            "truth": "instances" if self.fields[0].pixels else "dots",
            "images": len(self.fields),
            "groups": len({field.group for field in self.fields}),
            **_found(self.total),
            "pooled": _rounded(self.total.figures()),
            "mean_of_images": _rounded(_means(nuclei)),
            "intervals": self._intervals(nuclei),
            "outlined": self._outlined(),
            "thesis": self._thesis(),
            **self._types(),
        }

    def _types(self) -> dict[str, Any]:
        parts = [(field.group, field.types) for field in self.fields if field.types]
        if not (parts and self.classes):
            return {}
        figures = type_figures(parts, self.classes, "iou" if self.fields[0].pixels else "distance")
        return {"types": figures} if figures else {}

    def _intervals(self, sums: Sequence[Sums]) -> dict[str, list[float] | None]:
        groups = [field.group for field in self.fields]
        found = intervals(zip(groups, sums, strict=True))
        return {name: pair and [round(end, _DIGITS) for end in pair] for name, pair in found.items()}

    def _outlined(self) -> dict[str, Any] | None:
        parts = [field.outlined for field in self.fields if field.outlined]
        if not parts:
            return None
        total = pooled(parts)
        return {"nuclei": total.nuclei, **_rounded(total.figures()), "intervals": self._intervals(parts)}

    def _thesis(self) -> dict[str, float] | None:
        parts = [field.pixels for field in self.fields if field.pixels]
        if not parts:
            return None
        return _rounded(_means(parts) | {"keras_mean_iou": pooled(parts).keras_mean_iou})


def _found(nuclei: Detections) -> dict[str, int]:
    return {"nuclei_true": nuclei.true, "nuclei_predicted": nuclei.predicted}


def _means(parts: Sequence[Sums]) -> dict[str, float]:
    """Average each figure over images."""
    each = [part.figures() for part in parts]
    return {name: sum(figures[name] for figures in each) / len(each) for name in each[0]}


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in figures.items()}
