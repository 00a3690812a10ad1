"""What `masks.ome.zarr` holds for a viewer: a small picture of the slide, the classes, and the mask in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from wsiseg.errors import DamageError
from wsiseg.export.omezarr import MaskClass, mask_arrays, read_overview
from wsiseg.geometry import Frame
from wsiseg.view.pictures import as_png
from wsiseg.view.pyramid import Pyramid, halved

if TYPE_CHECKING:
    from pathlib import Path


UNKNOWN = 255
"""Value of pixels that could not be read; no class has it."""
HATCH_PX = 8
"""Width of the stripes that mark them; a divisor of a tile, so that stripes run on from tile to tile."""
_STRIPES = ((96, 96, 96, 255), (176, 176, 176, 255))


class MaskStore:
    """The masks of one run, read a tile at a time; for any number of threads.

    Raises
    ------
    DamageError
        E-DAMAGED: the store is not one that wsiseg writes.
    """

    def __init__(self, path: Path) -> None:
        try:
            labels = zarr.open_group(str(path / "labels" / "classes"), mode="r")
            about: dict[str, Any] = dict(labels.attrs)
            self.frame, self.mpp = _frame(about["wsiseg"]["frame"])
            self.classes = _classes(about.get("ome", about)["image-label"])
            self.overview, self.overview_frame = read_overview(path)
            self._levels = [zarr.open_array(str(level), mode="r") for level in mask_arrays(path).classes]
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            fix = "see `wsiseg verify`"
            raise DamageError("E-DAMAGED", f"the masks cannot be read ({error})", where=path, fix=fix) from error
        frames = [self.frame]
        while len(frames) < len(self._levels):
            frames.append(halved(frames[-1]))
        self.pyramid = Pyramid(tuple(frames))
        self._colours = self._palette()

    def tile(self, level: int, column: int, row: int) -> bytes | None:
        """Give a tile as PNG: a colour a class, background transparent, unknown pixels striped in greys."""
        found = self.pyramid.tile(level, column, row)
        if found is None:
            return None
        index, box = found
        values = np.asarray(self._levels[index][box.slices], np.uint8)
        unknown = values == UNKNOWN
        if unknown.any():
            y, x = np.ogrid[: box.height, : box.width]
            values = np.where(unknown & ((x + y) // HATCH_PX % 2 == 1), np.uint8(self._stripe), values)
        return as_png(values, self._colours)

    def _palette(self) -> list[tuple[int, int, int, int]]:
        colours = [(0, 0, 0, 0)] * 256
        for one in self.classes:
            colours[one.value] = (*one.rgb, 255)
        # A value that no class has paints every other stripe.
        self._stripe = next(value for value in range(254, -1, -1) if not colours[value][3])
        colours[self._stripe], colours[UNKNOWN] = _STRIPES
        return colours


def _frame(facts: dict[str, Any]) -> tuple[Frame, float]:
    """Give the masks' plane, and um per level-0 pixel."""
    x, y = facts["origin_level0"]
    frame = Frame(int(facts["width"]), int(facts["height"]), float(facts["downsample"]), (float(x), float(y)))
    return frame, float(facts["mpp"]) / frame.downsample


def _classes(label: dict[str, Any]) -> tuple[MaskClass, ...]:
    """Give the classes in the bundle's order."""
    colours = {one["label-value"]: tuple(one["rgba"][:3]) for one in label["colors"]}
    named = {one["label-value"]: str(one["class"]) for one in label["properties"]}
    return tuple(MaskClass(value, named[value], rgb) for value, rgb in colours.items() if 0 < value < UNKNOWN)
