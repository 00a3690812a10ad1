"""Crops of labelled fields at the resolution that is learned, by number: the same number gives the same crop.

A crop is (crop, crop, 3) RGB and (crop, crop, planes + 1) planes: the targets and, last, where they count;
255 stands for 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from wsiseg.train.pixels import at_mpp

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from wsiseg.train.config import TrainConfig
    from wsiseg.train.data import TrainingField

    Crop = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

_ORDER = 1
"""Keeps the random numbers of passes apart from those of crops."""


class Crops(Protocol):
    """Where a training's crops come from."""

    def draw(self, number: int, random: np.random.Generator) -> Crop:
        """Give a crop.

        Parameters
        ----------
        number
            Counts the crops since the training began.
        random
            The crop's own generator.
        """
        ...


class RandomCrops:
    """Crops from anywhere, each source with its own share of them, at any zoom of the augmentation.

    A field too small for the zoom gives all it has.

    Parameters
    ----------
    mpp
        Micrometres per pixel of the crops.
    """

    def __init__(self, config: TrainConfig, mpp: float, sources: Sequence[Sequence[TrainingField]]) -> None:
        self._sources = sources
        shares = np.array([source.share for source in config.sources])
        self._shares = shares / shares.sum()
        self._mpp = mpp
        self._crop_px = config.schedule.crop_px
        self._zooms = math.log(config.augmentation.scale_min), math.log(config.augmentation.scale_max)

    def draw(self, number: int, random: np.random.Generator) -> Crop:
        """Give a crop."""
        source = self._sources[int(random.choice(len(self._sources), p=self._shares))]
        chosen = source[int(random.integers(len(source)))]
        zoom = math.exp(random.uniform(*self._zooms))
        height, width = chosen.counted.shape
        side = min(round(self._crop_px * self._mpp / chosen.mpp / zoom), height, width)
        y = int(random.integers(height - side + 1))
        x = int(random.integers(width - side + 1))
        part = slice(y, y + side), slice(x, x + side)
        planes = np.dstack([chosen.targets[part], chosen.counted[part]])
        return _resized(chosen.rgb[part], self._crop_px), _resized(planes, self._crop_px)


class CenterCrops:
    """The middle of each field, in passes: each field once in an order of the pass' own, then the next pass."""

    def __init__(self, crops: Sequence[Crop], seed: int) -> None:
        self._crops = crops
        self._seed = seed

    def draw(self, number: int, random: np.random.Generator) -> Crop:
        """Give a crop."""
        turn, place = divmod(number, len(self._crops))
        order = np.random.default_rng([_ORDER, self._seed, turn]).permutation(len(self._crops))
        return self._crops[int(order[place])]


def whole_field(field: TrainingField, mpp: float, stride_px: int) -> Crop:
    """Give a whole field at an mpp, extended by its mirror image to multiples of `stride_px`."""
    rgb, planes = _at(field, mpp)
    height, width = rgb.shape[:2]
    return _extended((rgb, planes), (0, -height % stride_px), (0, -width % stride_px))


def center_crop(field: TrainingField, mpp: float, crop_px: int) -> Crop:
    """Cut the middle of a field at an mpp; a field that is too small is extended by its mirror image."""
    rgb, planes = _at(field, mpp)
    height, width = rgb.shape[:2]
    top, left = max(height - crop_px, 0) // 2, max(width - crop_px, 0) // 2
    part = slice(top, top + crop_px), slice(left, left + crop_px)
    rows, columns = (_margins(max(crop_px - side, 0)) for side in (height, width))
    return _extended((rgb[part], planes[part]), rows, columns)


def _at(field: TrainingField, mpp: float) -> Crop:
    planes = np.dstack([field.targets, field.counted])
    return at_mpp(field.rgb, field.mpp, mpp), at_mpp(planes, field.mpp, mpp)


def _margins(missing: int) -> tuple[int, int]:
    return missing // 2, missing - missing // 2


def _extended(crop: Crop, rows: tuple[int, int], columns: tuple[int, int]) -> Crop:
    """Mirror a crop at its edges; what is added does not count."""
    rgb, planes = (_mirrored(image, rows, columns) for image in crop)
    planes[..., -1] = np.pad(crop[1][..., -1], (rows, columns))
    return rgb, planes


def _mirrored(
    image: npt.NDArray[np.uint8], rows: tuple[int, int], columns: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    return np.pad(image, (rows, columns, (0, 0)), mode="symmetric")


def _resized(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Resize a square (h, h, channels) image to (side, side, channels)."""
    method = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_LINEAR
    out = cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=method)
    return np.asarray(out, np.uint8).reshape(side, side, -1)
