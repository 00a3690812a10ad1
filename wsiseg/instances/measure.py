"""Size and shape of nuclei: moments from their pixels, boundary measures from their polygons.

Pixel sums are whole numbers relative to the nucleus' first pixel, so the same nucleus measures the same to the
last bit in whichever window it was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


def measure_pixels(runs: npt.NDArray[np.int32], starts: npt.NDArray[np.intp], um: float) -> dict[str, Floats]:
    """Measure nuclei by their pixels' moments; a pixel is a square, not a point.

    Axes, eccentricity and orientation are those of the ellipse with the same normalised second central moments,
    as in scikit-image's and MATLAB's `regionprops`; like MATLAB's, each pixel adds its own 1/12, so that one
    pixel has an extent.

    Parameters
    ----------
    runs
        As `Nuclei.runs`.
    starts
        Index of each nucleus' first run.
    um
        Side of a pixel, um.
    """
    n, mean_x, mean_y, xx, yy, xy = _moments(runs, starts)
    spread = np.hypot((xx - yy) / 2, xy)
    major = (xx + yy) / 2 + spread
    minor = np.maximum((xx + yy) / 2 - spread, 0)
    orientation = np.degrees(np.arctan2(2 * xy, xx - yy)) / 2
    return {
        "mean_x": mean_x,
        "mean_y": mean_y,
        "area_um2": n * um**2,
        "equivalent_diameter_um": np.sqrt(4 / np.pi * n) * um,
        "major_axis_um": 4 * np.sqrt(major) * um,
        "minor_axis_um": 4 * np.sqrt(minor) * um,
        "eccentricity": np.sqrt(1 - minor / major),
        "orientation_deg": np.where(orientation <= -90, 90.0, orientation),
    }


def _moments(runs: npt.NDArray[np.int32], starts: npt.NDArray[np.intp]) -> tuple[Floats, ...]:
    """Give each nucleus' n, mean x and y of pixel centres (px), and central moments xx, yy, xy (px^2)."""
    first = runs[starts, :][:, [2, 1]].astype(np.int64)
    origin = np.repeat(first, np.diff(np.append(starts, len(runs))), axis=0)
    left, y = runs[:, 2] - origin[:, 0], runs[:, 1] - origin[:, 1]
    right = runs[:, 3] - origin[:, 0]
    length = right - left
    twice_x = (left + right - 1) * length  # twice the sum of x over the run
    six_xx = _six_squares(right) - _six_squares(left)
    columns = (length, twice_x, y * length, six_xx, y * y * length, y * twice_x)
    n, sx2, sy, sxx6, syy, sxy2 = (np.add.reduceat(c, starts).astype(np.float64) for c in columns)
    # Sums are exact up to 2^53: a nucleus would need 10^4 px a side to leave that range.
    mx, my = sx2 / (2 * n), sy / n
    xx, yy = sxx6 / (6 * n) - mx * mx + 1 / 12, syy / n - my * my + 1 / 12
    return n, mx + first[:, 0] + 0.5, my + first[:, 1] + 0.5, xx, yy, sxy2 / (2 * n) - mx * my


def _six_squares(stop: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give six times the sum of i^2 over 0 <= i < stop, continued to negative stops."""
    return (stop - 1) * stop * (2 * stop - 1)


def measure_polygons(polygons: npt.NDArray[np.object_], um: float) -> dict[str, Floats]:
    """Measure nuclei by their polygons' boundaries, with `um` the side of a level-0 pixel.

    Circularity is 4 pi area / length^2 (Cox 1927), solidity the area over that of the convex hull; both are of
    the polygon alone, as QuPath computes them, so that they lie in (0, 1].
    """
    area, length = shapely.area(polygons), shapely.length(polygons)
    hull = shapely.area(shapely.convex_hull(polygons))
    return {
        "perimeter_um": length * um,
        "circularity": np.minimum(4 * np.pi * area / length**2, 1),
        "solidity": np.minimum(area / hull, 1),
    }
