"""Where a slide's pixel size comes from, and when to believe it. Knows no pixels and no files."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from wsiseg.errors import SettingsError, SlideError
from wsiseg.slides.properties import positive_number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SMALLEST_UM, LARGEST_UM = 0.05, 10.0
"""No slide scanner samples finer or coarser; 72 and 96 dpi, what image editors write, are 353 and 265 um/px."""
LARGEST_ASPECT = 1.05
"""Real pixels are square to a fraction of a per cent; beyond 5 % one of the two numbers is wrong."""
UM_TIMES_POWER = 10.0
"""A 40x scan has 0.25 um/px and a 20x scan 0.5: pixel size times objective power is near 10 on every scanner."""
LARGEST_CONTRADICTION = 1.6
"""Scanners differ by up to 1.45 from that rule (0.172 um/px at 40x); a factor of 2 is a wrong number."""
_FIX = "pass --mpp, for example --mpp 0.25"


@dataclass(frozen=True, slots=True)
class Mpp:
    """Micrometres per level-0 pixel, and who said so."""

    x: float
    """Width of a pixel, um."""
    y: float
    """Height of a pixel, um."""
    source: str
    """The property or option that states it, such as `aperio.MPP` or `--mpp`."""

    @property
    def value(self) -> float:
        """The mean of both sides, um."""
        return (self.x + self.y) / 2


def given_mpp(um: float) -> Mpp:
    """Take a pixel size from the command line: it overrides the slide, so it must only be a number."""
    if not (isfinite(um) and um > 0):
        raise SettingsError("E-USAGE", f"--mpp {um} is not a pixel size in um")
    return Mpp(um, um, "--mpp")


def stated_mpp(properties: Mapping[str, object], prefix: str) -> Mpp | None:
    """Find the pixel size that a slide's properties state; None where they state none that is a number.

    Parameters
    ----------
    properties
        As OpenSlide or tiffslide gives them.
    prefix
        `openslide` or `tiffslide`, the first part of their own keys.
    """
    x = positive_number(properties.get(f"{prefix}.mpp-x"))
    y = positive_number(properties.get(f"{prefix}.mpp-y"))
    aperio = positive_number(properties.get("aperio.MPP"))
    if x is None or y is None:
        return Mpp(aperio, aperio, "aperio.MPP") if aperio is not None else None
    return Mpp(x, y, "aperio.MPP" if aperio == x else _resolution_tag(properties, x) or f"{prefix}.mpp-x")


def check_mpp(mpp: Mpp | None, objective_power: float | None, path: Path) -> Mpp:
    """Give the pixel size back, or refuse a missing or incredible one.

    Raises
    ------
    SlideError
        E-MPP-MISSING or E-MPP-IMPLAUSIBLE, with the numbers and where they come from.
    """
    if mpp is None:
        raise SlideError("E-MPP-MISSING", "no pixel size in the slide", where=path, fix=_FIX)
    doubt = "" if mpp.source == "--mpp" else _doubt(mpp, objective_power)
    if doubt:
        raise SlideError("E-MPP-IMPLAUSIBLE", f"{doubt} from {mpp.source}", where=path, fix=_FIX)
    return mpp


def _doubt(mpp: Mpp, objective_power: float | None) -> str:
    """Say what is incredible about a pixel size; empty where nothing is."""
    if min(mpp.x, mpp.y) < SMALLEST_UM or max(mpp.x, mpp.y) > LARGEST_UM:
        return f"{mpp.value:.6g} um/px (outside {SMALLEST_UM} to {LARGEST_UM})"
    if max(mpp.x, mpp.y) > LARGEST_ASPECT * min(mpp.x, mpp.y):
        return f"pixels of {mpp.x:.6g} x {mpp.y:.6g} um (not square)"
    if objective_power is not None and objective_power > 0:
        ratio = mpp.value * objective_power / UM_TIMES_POWER
        if max(ratio, 1 / ratio) > LARGEST_CONTRADICTION:
            expected = UM_TIMES_POWER / objective_power
            return f"{mpp.value:.6g} um/px (a {objective_power:g}x objective gives about {expected:.3g})"
    return ""


def _resolution_tag(properties: Mapping[str, object], mpp_x: float) -> str:
    """Name the TIFF resolution tag where the pixel size was computed from it."""
    unit = str(properties.get("tiff.ResolutionUnit", "")).lower()
    um_per_unit = {"inch": 25400.0, "centimeter": 10000.0}.get(unit)
    resolution = positive_number(properties.get("tiff.XResolution"))
    if um_per_unit is None or resolution is None or abs(um_per_unit / resolution / mpp_x - 1) > 1e-6:
        return ""
    return f"XResolution={resolution:g}/{unit}"
