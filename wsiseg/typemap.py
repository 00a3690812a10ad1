"""The map of a bundle with several classes: the probabilities of all of them in one plane of 4 x 4 px cells.

The pixel at (r, c) of a cell holds the probability (255 = 1.0) of the class at place 4 r + c of the bundle's, and
what is left of the cell is 0. It is what PyTorch's `pixel_shuffle` makes of one map a class at a quarter of the
resolution. What a nucleus is shows over all its pixels, so a quarter is enough; and one plane costs the engine
what one map costs, however many classes there are. Windows begin where cells do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

CELL_PX = 4
"""Side of a cell."""
MOST_CLASSES = CELL_PX**2
"""As many as a cell has pixels."""


def class_maps(plane: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """Give the (count, h // 4, w // 4) values of the whole cells of a plane, one map a class.

    Parameters
    ----------
    plane
        (h, w): begins where a cell does; cells that its end cuts are left out.
    count
        Number of classes, at most `MOST_CLASSES`.
    """
    height, width = (side // CELL_PX * CELL_PX for side in plane.shape)
    places = (divmod(place, CELL_PX) for place in range(count))
    return np.stack([plane[r:height:CELL_PX, c:width:CELL_PX] for r, c in places])
