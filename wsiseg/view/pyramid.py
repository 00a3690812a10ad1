"""Pictures in tiles: which pixels a level, a column and a row name. Knows no files and no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wsiseg.geometry import Box, Frame

TILE_PX = 512
"""Side of a tile: also of the masks' chunks, so that a tile of theirs is one of them."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Planes that halve from one to the next, each cut into tiles from its top-left corner."""

    frames: tuple[Frame, ...]
    """Finest first."""

    @classmethod
    def below(cls, finest: Frame) -> Pyramid:
        """Give the pyramid of a plane, down to the level that is a single tile."""
        frames = [finest]
        while max(frames[-1].shape) > TILE_PX:
            frames.append(halved(frames[-1]))
        return cls(tuple(frames))

    def tile(self, level: int, column: int, row: int) -> tuple[int, Box] | None:
        """Give a tile's index in `frames` and its box there; None where there is no such tile.

        Parameters
        ----------
        level
            0 is the coarsest, as OpenSeadragon counts.
        """
        index = len(self.frames) - 1 - level
        if not 0 <= index < len(self.frames):
            return None
        box = Box(column * TILE_PX, row * TILE_PX, TILE_PX, TILE_PX).intersection(self.frames[index].box)
        return None if box.empty else (index, box)

    def as_dict(self) -> dict[str, Any]:
        """Give what a page must know of it; `x`, `y` and `downsample` are in level-0 pixels."""
        finest = self.frames[0]
        return {
            "width": finest.width,
            "height": finest.height,
            "downsample": finest.downsample,
            "x": finest.origin[0],
            "y": finest.origin[1],
            "levels": len(self.frames),
            "tile": TILE_PX,
        }


def halved(frame: Frame) -> Frame:
    """Give the plane of twice the downsample; an odd last column or row is kept."""
    return Frame(-(-frame.width // 2), -(-frame.height // 2), 2 * frame.downsample, frame.origin)
