"""What a prepared data set holds, in numbers: counts by class and label, splits, sizes, pixels, what was left out.

Nuclei are counted as the tables of the prepared fields publish them, so the counts can be checked against the
CSV files; what a crop cut away counts too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wsiseg import __version__
from wsiseg.train.nucls.published import BOX, MPP, OUTLINE, POINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from wsiseg.train.nucls.published import FieldName, Nucleus

MADE_BY = "wsiseg prepare nucls"
KINDS = (OUTLINE, BOX, POINT)
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """A prepared field without its pictures."""

    name: FieldName
    size: tuple[int, int]
    """(width, height) as published, in pixels."""
    has_mask: bool
    nuclei: tuple[Nucleus, ...]
    drawn: frozenset[int]
    """Labels that the instance map holds."""
    pixels: dict[str, int]


@dataclass(frozen=True, slots=True)
class Survey:
    """A prepared data set."""

    mode: str
    grouping: str | None
    """Which classes its class maps hold, a key of `GROUPINGS`; None if it has no such maps."""
    source: str
    """Name of the folder that it was made from."""
    records: tuple[FieldRecord, ...]
    splits: tuple[str, ...]
    """Of each record."""
    left_out: tuple[tuple[str, str], ...]
    """File and reason."""

    @property
    def nuclei(self) -> list[Nucleus]:
        """All nuclei of the prepared fields' tables."""
        return [nucleus for record in self.records for nucleus in record.nuclei]

    def diameters_um(self, kind: str) -> npt.NDArray[np.float64]:
        """Give the diameters of the nuclei labelled in one way: of the circle of an outline's area.

        A box has that of the ellipse that fits into it, so that the two can be compared.
        """
        areas = np.array([nucleus.area_um2 for nucleus in self.nuclei if nucleus.kind == kind])
        return np.sqrt(areas * (4 / np.pi if kind == OUTLINE else 1))

    def as_dict(self) -> dict[str, Any]:
        """Give what `summary.json` holds."""
        nuclei = self.nuclei
        content: dict[str, Any] = {
            "made_by": MADE_BY,
            "version": __version__,
            "mode": self.mode,
            "grouping": self.grouping,
            "source": self.source,
            "um_per_px": MPP,
            "fields": len(self.records),
            "fields_with_mask": sum(record.has_mask for record in self.records),
            "patients": len({record.name.patient for record in self.records}),
            "nuclei": len(nuclei),
            "nuclei_drawn": sum(len(record.drawn) for record in self.records),
            "kinds": _by_kind(nuclei),
            "classes": {name: _by_kind(of_class) for name, of_class in _grouped(nuclei, "raw_class")},
            "super_classes": {name: _by_kind(of_class) for name, of_class in _grouped(nuclei, "super_class")},
            "splits": {split: self._split(split) for split in _SPLITS if split in self.splits},
            "patients_in_two_splits": self._leak(),
            "field_px": {
                side: _spread([record.size[axis] for record in self.records], {"min": 0, "median": 50, "max": 100})
                for axis, side in enumerate(("width", "height"))
            },
            "diameter_um": {
                kind: _spread(self.diameters_um(kind).tolist(), {"p5": 5, "median": 50, "p95": 95})
                for kind in (OUTLINE, BOX)
                if any(nucleus.kind == kind for nucleus in nuclei)
            },
        }
        if self.mode == "thesis":
            content["thesis_rule"] = self._thesis_rule()
        else:
            content["pixels"] = _total(record.pixels for record in self.records)
        return content | {"left_out": [{"file": file, "reason": reason} for file, reason in self.left_out]}

    def _split(self, split: str) -> dict[str, int]:
        records = [record for record, its in zip(self.records, self.splits, strict=True) if its == split]
        return {
            "fields": len(records),
            "patients": len({record.name.patient for record in records}),
            "nuclei": sum(len(record.nuclei) for record in records),
            "outlines": sum(nucleus.kind == OUTLINE for record in records for nucleus in record.nuclei),
        }

    def _leak(self) -> int:
        pairs = {(record.name.patient, split) for record, split in zip(self.records, self.splits, strict=True)}
        return sum(count > 1 for count in Counter(patient for patient, _ in pairs).values())

    def _thesis_rule(self) -> dict[str, Any]:
        """Compare with "253 becomes 0, everything else 1", field by field, where a mask holds code 0."""
        records = [record for record in self.records if record.pixels.get("outside_field")]
        total = _total(record.pixels for record in records)
        return {"total": total, "fields": [{"field": record.name.name, **record.pixels} for record in records]}


def _grouped(nuclei: list[Nucleus], attribute: str) -> list[tuple[str, list[Nucleus]]]:
    groups: dict[str, list[Nucleus]] = {}
    for nucleus in nuclei:
        groups.setdefault(getattr(nucleus, attribute), []).append(nucleus)
    return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))


def _by_kind(nuclei: Iterable[Nucleus]) -> dict[str, int]:
    counts = Counter(nucleus.kind for nucleus in nuclei)
    return {kind: counts[kind] for kind in KINDS}


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _spread(values: Sequence[float], percentiles: dict[str, int]) -> dict[str, float]:
    return {name: round(float(np.percentile(values, at)), 2) for name, at in percentiles.items()}
