"""Reading a bundle's `head_settings`: plain numbers by name, each within stated limits."""

from __future__ import annotations

import dataclasses
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Settings = TypeVar("Settings")


def limited(default: float, low: float, high: float) -> Any:  # noqa: ANN401 - a dataclass field has its value's type
    """Declare a setting with its default and limits; where the default is an int, only whole numbers are taken."""
    return dataclasses.field(default=default, metadata={"limits": (low, high), "whole": type(default) is int})


def read_settings(kind: type[Settings], values: Mapping[str, float]) -> Settings:
    """Build a dataclass of `limited` fields; what is not named keeps its default.

    Raises
    ------
    ValueError
        An unknown name, or a value that is not a number within the limits.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"unknown head setting: {', '.join(unknown)}")
    for name, value in values.items():
        low, high = fields[name].metadata["limits"]
        if type(value) not in (int, float) or not isfinite(value):
            raise ValueError(f"head setting {name} is not a number")
        if not low <= value <= high:
            raise ValueError(f"head setting {name} is {value}, not within {low} to {high}")
        if fields[name].metadata["whole"] and value != int(value):
            raise ValueError(f"head setting {name} is not a whole number")
    return kind(**{n: int(v) if fields[n].metadata["whole"] else v for n, v in values.items()})
