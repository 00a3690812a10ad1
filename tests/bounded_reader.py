"""A reader that states bounds, as MIRAX and Leica slides do; the slide's own process imports it by name."""

from __future__ import annotations

from dataclasses import replace

from wsiseg.geometry import Box
from wsiseg.slides.openslide_reader import OpenSlideSlide

BOUNDS = Box(150, 90, 700, 500)
"""Level-0 px of the slide that QuPath would show."""


class BoundedSlide(OpenSlideSlide):
    """Reads any slide as OpenSlide does, and says that only `BOUNDS` of it was scanned."""

    def __init__(self, path, mpp=None):
        super().__init__(path, mpp)
        self.info = replace(self.info, bounds=BOUNDS)
