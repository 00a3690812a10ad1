"""Sums that one image, or many, add to a set of figures: what all metrics have in common."""

from __future__ import annotations

from dataclasses import fields
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sums:
    """Base of frozen dataclasses of numbers whose properties are figures, so that pooling is adding."""

    __slots__ = ()
    FIGURES: ClassVar[tuple[str, ...]] = ()
    """Properties that are reported, in this order."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))  # type: ignore[arg-type]

    def figures(self) -> dict[str, float]:
        """Give the figures by name."""
        return {name: getattr(self, name) for name in self.FIGURES}


S = TypeVar("S", bound=Sums)


def pooled(parts: Iterable[S]) -> S:
    """Add up the sums of one image or more."""
    return reduce(add, parts)


def share(part: float, whole: float) -> float:
    """Give part / whole; 1 of nothing: where there is nothing to find and nothing is found, all is right."""
    return part / whole if whole else 1.0
