"""What every slide reader promises: a description and reads of one level. Knows no file format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from wsiseg.geometry import Box, Frame
from wsiseg.slides.mpp import Mpp, check_mpp

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class SlideInfo:
    """What a reader sees in a slide, without reading a pixel."""

    path: Path
    """The file that was opened; of a DICOM folder, the file of the largest level."""
    reader: str
    """Name in the table of readers."""
    reader_version: str
    """Versions of the reader's packages and libraries."""
    vendor: str
    """Vendor or format, as the reader names it."""
    levels: tuple[Frame, ...]
    """Level 0 first; downsamples as measured by the reader, so 4.00009 stays 4.00009."""
    mpp: Mpp | None
    """Pixel size as stated by the slide or by `--mpp`, not yet believed: see `checked_mpp`."""
    objective_power: float | None
    """Metadata only: no pixel size is ever computed from it."""
    background: tuple[int, int, int]
    """RGB behind transparent and missing pixels."""
    bounds: Box | None
    """Level-0 rectangle outside which the slide states to be empty."""

    @property
    def area(self) -> Box:
        """The level-0 rectangle that a run covers, and that QuPath shows: the bounds, or all of level 0."""
        return self.bounds or self.levels[0].box

    def checked_mpp(self) -> Mpp:
        """Give the pixel size, or refuse a missing or incredible one with a `SlideError`."""
        return check_mpp(self.mpp, self.objective_power, self.path)

    def frame_at(self, mpp: float) -> Frame:
        """Lay a frame of `mpp` um/px over the slide: the one place where micrometres become pixels.

        Raises
        ------
        SlideError
            E-MPP-MISSING or E-MPP-IMPLAUSIBLE.
        """
        return Frame.over(self.area, mpp / self.checked_mpp().value)


class Slide(Protocol):
    """An open slide. Readers read single levels and never resample: `sampling.read_box` does."""

    @property
    def info(self) -> SlideInfo:
        """What the reader sees in the slide."""
        ...

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Read pixels of one level.

        Parameters
        ----------
        location
            (x, y) of the top-left corner in level 0; the read begins at the nearest pixel of the level.
        level
            Index into `info.levels`.
        size
            (width, height) in pixels of the level. The region lies inside the level.

        Returns
        -------
        (height, width, 3) uint8 RGB; transparent and missing pixels show `info.background`.

        Raises
        ------
        SlideError
            E-SLIDE-READ, with box and level. The handle may be unusable from then on.
        """
        ...

    def close(self) -> None:
        """Give the file back; closing twice is fine, reading afterwards is not."""
        ...


class Handle(Slide, Protocol):
    """What a reader makes: a slide open in this process, for one thread."""

    def read_region(
        self,
        location: tuple[int, int],
        level: int,
        size: tuple[int, int],
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Read pixels of one level, as a `Slide` does.

        Parameters
        ----------
        out
            (height, width, 3) uint8 where the pixels go, so that no copy is made; a new array if None.
        """
        ...
