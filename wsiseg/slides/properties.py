"""Numbers and colours out of a slide's text properties. Never raises: what cannot be read is not stated."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from wsiseg.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Mapping

WHITE = (255, 255, 255)
"""The glass of a slide that states no background colour."""


def positive_number(text: object) -> float | None:
    """Read a positive finite number, with a decimal point or a decimal comma; None for anything else."""
    try:
        number = float(str(text).strip().replace(",", "."))
    except ValueError:
        return None
    return number if isfinite(number) and number > 0 else None


def background_colour(text: object) -> tuple[int, int, int]:
    """Read `RRGGBB`; white where a slide states none."""
    try:
        red, green, blue = bytes.fromhex(str(text))
    except ValueError:
        return WHITE
    return red, green, blue


def stated_bounds(properties: Mapping[str, object], prefix: str, level0: Box) -> Box | None:
    """Read the bounds rectangle, clipped to level 0; None unless all four numbers are there, as in QuPath."""
    try:
        x, y, width, height = (
            int(str(properties[f"{prefix}.bounds-{name}"])) for name in ("x", "y", "width", "height")
        )
        bounds = Box(x, y, width, height).intersection(level0)
    except (KeyError, ValueError):
        return None
    return None if bounds.empty else bounds
