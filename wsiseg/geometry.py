"""Pixel planes and rectangles. Knows no files, no micrometres and no models."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle of whole pixels in one frame: [x, x + width) by [y, y + height)."""

    x: int
    """Left edge, px."""
    y: int
    """Top edge, px."""
    width: int
    """Columns, px; zero is an empty box."""
    height: int
    """Rows, px."""

    def __post_init__(self) -> None:
        if self.width < 0 or self.height < 0:
            raise ValueError(f"a box cannot be {self.width} x {self.height}")

    @property
    def right(self) -> int:
        """The first column beyond the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row beyond the box."""
        return self.y + self.height

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as numpy has it."""
        return self.height, self.width

    @property
    def empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.width == 0 or self.height == 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) of the box in an array of its frame."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def grown(self, margin_px: int) -> Box:
        """Give the box with `margin_px` more pixels on every side."""
        return Box(self.x - margin_px, self.y - margin_px, self.width + 2 * margin_px, self.height + 2 * margin_px)

    def moved(self, dx: int, dy: int) -> Box:
        """Give the box shifted by (dx, dy)."""
        return Box(self.x + dx, self.y + dy, self.width, self.height)

    def intersection(self, other: Box) -> Box:
        """Give the common part; an empty box where there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        return Box(x, y, max(min(self.right, other.right) - x, 0), max(min(self.bottom, other.bottom) - y, 0))


@dataclass(frozen=True, slots=True)
class Frame:
    """A pixel plane over a slide: level 0, a pyramid level, or the model's resolution.

    Point (x, y) of the frame lies at level-0 point `origin + downsample * (x, y)`. Points are continuous and
    pixel (i, j) covers [i, i + 1) x [j, j + 1), so no half-pixel shift occurs anywhere.
    """

    width: int
    """Columns, px; the last may reach beyond the slide by a fraction of a pixel."""
    height: int
    """Rows, px."""
    downsample: float = 1.0
    """Level-0 pixels per pixel of this frame; below 1 the frame is finer than the slide."""
    origin: tuple[float, float] = (0.0, 0.0)
    """Level-0 (x, y) of the frame's top-left corner; not (0, 0) where a slide states bounds."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a frame cannot be {self.width} x {self.height}")
        if not self.downsample > 0:
            raise ValueError(f"a downsample cannot be {self.downsample}")

    @classmethod
    def over(cls, area: Box, downsample: float) -> Frame:
        """Lay a frame of the given downsample over a level-0 area, whole pixels rounded up."""
        # 1e-6 px of slack: 5120.0000000001 columns are 5120.
        width = max(ceil(area.width / downsample - 1e-6), 1)
        height = max(ceil(area.height / downsample - 1e-6), 1)
        return cls(width, height, downsample, (float(area.x), float(area.y)))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as numpy has it."""
        return self.height, self.width

    @property
    def box(self) -> Box:
        """The whole frame as a box."""
        return Box(0, 0, self.width, self.height)

    def to_level0(self, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Turn (..., 2) points (x, y) of this frame into level-0 points."""
        scaled: npt.NDArray[np.float64] = np.asarray(points, np.float64) * self.downsample
        scaled += np.asarray(self.origin, np.float64)
        return scaled

    def from_level0(self, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Turn (..., 2) level-0 points (x, y) into points of this frame."""
        moved: npt.NDArray[np.float64] = np.asarray(points, np.float64) - np.asarray(self.origin, np.float64)
        moved /= self.downsample
        return moved
