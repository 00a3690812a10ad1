"""What stands below the overview: scale bar, colours, and what its lines mean."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsiseg.export.ground import GAP, INK, SMALLEST_PX
from wsiseg.export.heat import with_heat

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from wsiseg.models.bundle import ClassSpec

HEIGHT = 90
"""Of the legend, in thousandths of the picture's width."""
_CLASSES_LEFT, _CLASSES_RIGHT = 250, 745
"""Where the classes stand."""
_MOST_CLASSES = 8
"""That have room; of more, the rest is counted together."""


def round_number(value: float, steps: tuple[float, ...]) -> float:
    """Give the nearest of some steps times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return min((step * power for step in steps), key=lambda number: abs(number - value))


class Legend:
    """A picture with room for a legend below it, which is drawn in units of a thousandth of its width.

    Parameters
    ----------
    picture
        (height, width, 3).
    """

    def __init__(self, picture: npt.NDArray[np.uint8]) -> None:
        height, width = picture.shape[:2]
        self._width_px = max(width, SMALLEST_PX)
        self._unit = self._width_px / SMALLEST_PX
        self._top_px = height
        self.canvas = Image.new("RGB", (self._width_px, height + round(HEIGHT * self._unit)), "white")
        self.canvas.paste(Image.fromarray(picture), ((self._width_px - width) // 2, 0))
        self._draw = ImageDraw.Draw(self.canvas)
        # Pillow's own font, so that the picture does not depend on the fonts of the machine.
        self._fonts = {
            small: ImageFont.load_default(round((13 if small else 20) * self._unit)) for small in (False, True)
        }

    def _at(self, x: float, y: float) -> tuple[int, int]:
        return round(x * self._unit), self._top_px + round(y * self._unit)

    def _text(self, x: float, y: float, text: str, anchor: str = "mm", *, small: bool = False) -> None:
        self._draw.text(self._at(x, y), text, INK, self._fonts[small], anchor)

    def _bar(self, x: float, y: float, right: float, bottom: float, fill: tuple[int, int, int]) -> None:
        self._draw.rectangle((*self._at(x, y), *self._at(right, bottom)), fill)

    def scale_bar(self, pixel_um: float) -> None:
        """Draw a bar of a round length, about a sixth of the picture."""
        length_mm = round_number(pixel_um * self._width_px / 6000, (1, 2, 5, 10))
        length = length_mm * 1000 / pixel_um / self._unit
        self._bar(40, 30, 40 + length, 36, INK)
        self._text(40 + length / 2, 62, f"{length_mm:g} mm")

    def density(self, top: float) -> None:
        """Draw the scale of the density."""
        (left, upper), (right, lower) = self._at(330, 24), self._at(670, 42)
        ramp = np.linspace(0, 1, right - left, dtype=np.float32)[None].repeat(lower - upper, 0)
        white = np.full((*ramp.shape, 3), 255, np.uint8)
        self.canvas.paste(Image.fromarray(with_heat(white, ramp)), (left, upper))
        self._text(330, 62, "0")
        # The font has no superscript two (and no Greek mu: lengths are in mm).
        self._text(494, 62, "nuclei per mm")
        half_width = self._fonts[False].getlength("nuclei per mm") / 2 / self._unit
        self._text(494 + half_width + 1, 55, "2", "lm", small=True)
        self._text(670, 62, f"{top:,.0f} or more")

    def classes(self, classes: Sequence[ClassSpec], counts: Sequence[int]) -> None:
        """Name the classes beside their colours, with the number of nuclei of each."""
        shown = len(classes) if len(classes) <= _MOST_CLASSES else _MOST_CLASSES - 1
        labels = [(one.name, f"{count:,}") for one, count in zip(classes[:shown], counts, strict=False)]
        if shown < len(classes):
            labels.append((f"{len(classes) - shown} more", f"{sum(counts[shown:]):,}"))
        small = len(labels) > 3
        rows = 4 if small else 3
        width = (_CLASSES_RIGHT - _CLASSES_LEFT) / (2 if small else 1)
        for place, (name, count) in enumerate(labels):
            column, row = divmod(place, rows)
            x, y = _CLASSES_LEFT + column * width, 6 + (HEIGHT - 12) * (row + 0.5) / rows
            half = 5 if small else 8
            if place < shown:
                self._bar(x, y - half, x + 2 * half, y + half, classes[place].color)
            room = width - 2 * half - 16 - self._fonts[small].getlength(count) / self._unit
            self._text(x + 2 * half + 8, y, f"{self._cut(name, room, small=small)} {count}", "lm", small=small)

    def _cut(self, name: str, room: float, *, small: bool) -> str:
        """Shorten a name to what has room."""
        font = self._fonts[small]
        if font.getlength(name) / self._unit <= room:
            return name
        while name and font.getlength(f"{name}... ") / self._unit > room:
            name = name[:-1]
        return f"{name}..."

    def outline(self, color: tuple[int, int, int]) -> None:
        """Explain the line around the tissue."""
        self._bar(760, 31, 800, 34, color)
        self._text(812, 33, "edge of the tissue", "lm")

    def gap(self) -> None:
        """Explain the squares that could not be read."""
        self._bar(770, 54, 790, 74, GAP)
        self._text(812, 64, "could not be read", "lm")
