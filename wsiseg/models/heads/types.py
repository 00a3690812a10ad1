"""The map of the classes, from the network's logits: a softmax at a quarter of the resolution, in one plane.

`wsiseg.typemap` says how the plane is laid out. The network gives its logits in the same layout, so that all that
it gives is one tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsiseg.typemap import CELL_PX, MOST_CLASSES

if TYPE_CHECKING:
    from torch import Tensor

_SURELY_BACKGROUND = 0.1
"""Where no pixel of a cell is more likely than this to be of a nucleus, no class is stored: zeros cost nothing."""


def as_plane(maps: Tensor) -> Tensor:
    """Lay (n, classes, h, w) maps out as one (n, 1, 4 h, 4 w) plane."""
    from torch.nn import functional

    filled = functional.pad(maps, (0, 0, 0, 0, 0, MOST_CLASSES - maps.shape[1]))
    return functional.pixel_shuffle(filled, CELL_PX)


def of_plane(plane: Tensor, classes: int) -> Tensor:
    """Give the (n, classes, h / 4, w / 4) maps of an (n, 1, h, w) plane."""
    from torch.nn import functional

    return functional.pixel_unshuffle(plane, CELL_PX)[:, :classes]


def activate_types(plane: Tensor, probability: Tensor, classes: int) -> Tensor:
    """Turn an (n, 1, h, w) plane of logits into one of the classes' probabilities.

    Parameters
    ----------
    probability
        (n, 1, h, w): that a pixel is of a nucleus.
    """
    from torch.nn import functional

    near_nucleus = functional.max_pool2d(probability, CELL_PX) >= _SURELY_BACKGROUND
    return as_plane(of_plane(plane, classes).softmax(1) * near_nucleus)
