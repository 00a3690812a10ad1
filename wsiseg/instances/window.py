"""From the maps of a block and its margin to the nuclei that the block owns.

A nucleus belongs to the block that holds its anchor pixel, so every nucleus has one owner and neighbours need not
talk to each other. Nothing here depends on where the window lies around the block, as long as its margin is what
the head asks for. Knows no network, no slide and no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from wsiseg.instances.classes import measure_classes
from wsiseg.instances.measure import measure_pixels, measure_polygons
from wsiseg.instances.objects import Objects, find_objects
from wsiseg.instances.planes import measure_planes
from wsiseg.instances.polygons import make_polygons
from wsiseg.nuclei import MEASUREMENTS, Nuclei

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from wsiseg.geometry import Box, Frame
    from wsiseg.instances.planes import Planes
    from wsiseg.labels import Labels


@dataclass(frozen=True)
class Decoding:
    """What turns a run's maps into nuclei: the same for all its blocks."""

    decode: Callable[[npt.NDArray[np.uint8], Box], Labels]
    """The head's decoding: (channels, h, w) maps to labels, each one 4-connected component. Those that lie wholly
    above, below, left or right of the box, which is of these pixels, may be missing."""
    frame: Frame
    """The model's frame."""
    area: Box
    """The level-0 area that the frame lies over; polygons stay inside."""
    mpp: float
    """um per pixel of the frame."""
    classes: tuple[int, ...] = (1,)
    """Values of the bundle's classes, in order. With more than one, the third map is their `wsiseg.typemap`."""

    @property
    def told_apart(self) -> int:
        """The number of classes that the maps tell apart: none where there is only one."""
        return len(self.classes) if len(self.classes) > 1 else 0


@dataclass(frozen=True)
class DecodedBlock:
    """The nuclei that a block owns, and what was odd on the way."""

    nuclei: Nuclei
    """Numbered from 1 in the order of their anchors, row by row."""
    oversized: int
    """Nuclei left out because the window cuts them: they are larger than its margin."""
    repaired: int
    """Polygons that rounding or the slide's edge had made invalid and that were mended."""
    outside: int
    """Nuclei left out because nothing of them lies on the slide; the frame's last pixels reach beyond it."""


def decode_block(planes: Planes, window_box: Box, block_box: Box, decoding: Decoding) -> DecodedBlock:
    """Find, outline and measure the nuclei whose anchor lies in a block.

    Parameters
    ----------
    planes
        Maps and stains of the window.
    window_box
        The part of the frame that `planes` cover: the block and its margin, cut at the frame's edge.
    block_box
        The pixels that the block owns.
    """
    frame = decoding.frame
    labels = decoding.decode(planes.maps, block_box.moved(-window_box.x, -window_box.y))
    found = find_objects(labels, window_box)
    owned = found.in_box(block_box)
    cut = owned & found.cut_by(window_box, frame.box)
    objects = found.ordered(owned & ~cut)
    outlined = make_polygons(objects.runs, len(objects), frame, decoding.area)
    outside = shapely.is_empty(outlined.polygon)
    polygons = outlined.polygon[~outside]
    nuclei = _measured(objects.ordered(~outside), polygons, planes, window_box, decoding)
    nuclei.check_finite()
    return DecodedBlock(nuclei, int(cut.sum()), outlined.repaired, int(outside.sum()))


def _measured(
    objects: Objects,
    polygons: npt.NDArray[np.object_],
    planes: Planes,
    window: Box,
    decoding: Decoding,
) -> Nuclei:
    """Make the table of objects and their polygons."""
    if len(objects) == 0:
        return Nuclei.empty(decoding.told_apart)
    frame, area, mpp = decoding.frame, decoding.area, decoding.mpp
    place, class_probability = measure_classes(objects, planes, window, decoding.told_apart)
    values = measure_pixels(objects.runs, objects.starts, mpp)
    values |= measure_polygons(polygons, mpp / frame.downsample)
    values |= measure_planes(objects, planes, window)
    centroid = frame.to_level0(np.stack((values["mean_x"], values["mean_y"]), axis=1))
    centroid = np.clip(centroid, (area.x, area.y), (area.right, area.bottom)).round(2)
    unknown = np.full(len(objects), np.nan, np.float32)
    plain: dict[str, Any] = {name: values[name].astype(np.float32) for name in MEASUREMENTS}
    return Nuclei(
        id=np.arange(1, len(objects) + 1, dtype=np.uint32),
        polygon=polygons,
        class_value=np.array(decoding.classes, np.uint8)[place],
        class_probability=class_probability,
        anchor=objects.anchor,
        centroid_x=centroid[:, 0],
        centroid_y=centroid[:, 1],
        neighbours_50um=unknown,
        nearest_um=unknown,
        runs=objects.runs,
        **plain,
    )
