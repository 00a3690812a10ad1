"""Label images for tests of nuclei: ugly little ones from hypothesis, and fields of discs of any size."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import shapely
from hypothesis import strategies as st
from scipy import ndimage

from wsiseg.geometry import Box, Frame
from wsiseg.instances import Decoding, Planes, decode_block
from wsiseg.labels import Labels
from wsiseg.nuclei import Nuclei

if TYPE_CHECKING:
    from collections.abc import Iterable

MARGIN = 48
"""Around a block, px: more than the nuclei of these fields are long."""


def components(classes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Number the 4-connected components of equal non-zero values, in a random order."""
    labels = np.zeros(classes.shape, np.int32)
    count = 0
    for value in np.unique(classes[classes > 0]):
        parts, number = ndimage.label(classes == value)
        labels[parts > 0] = parts[parts > 0] + count
        count += number
    numbers = np.random.default_rng(seed).permutation(count) + 1
    return np.append(0, numbers)[labels].astype(np.int32)


@st.composite
def label_images(draw, largest: int = 14):
    """Noise of a few classes: pinches, holes, nests, single pixels, touching neighbours and cut borders abound."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    filled = rng.random((height, width)) < draw(st.sampled_from((0.2, 0.5, 0.6, 0.8, 0.95)))
    classes = np.where(filled, rng.integers(1, draw(st.integers(1, 3)) + 1, (height, width)), 0)
    return components(classes, seed)


def blobs(height: int, width: int, step: int = 24, seed: int = 0) -> np.ndarray:
    """Ellipses on a jittered lattice, some touching, some cut by the border; each is 4-connected."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    number = 0
    for top in range(0, height, step):
        for left in range(0, width, step):
            number += 1
            centre = (left + int(rng.integers(0, step)), top + int(rng.integers(0, step)))
            axes = (int(rng.integers(2, step // 2)), int(rng.integers(2, step // 2)))
            cv2.ellipse(labels, centre, axes, float(rng.integers(0, 180)), 0, 360, number, -1)
    return components(labels, seed)


def maps_of(labels: np.ndarray) -> np.ndarray:
    """One map, with a probability that tells every pixel from its neighbours."""
    y, x = np.indices(labels.shape)
    return np.where(labels > 0, 128 + (7 * x + 13 * y) % 127, 0).astype(np.uint8)[None]


def planes_of(maps: np.ndarray) -> Planes:
    """The maps, and stains that tell every pixel from its neighbours, each of another range."""
    y, x = np.indices(maps.shape[1:])
    return Planes(maps, np.stack([(11 * x + 5 * y) % 251, (3 * x + 17 * y) % 97]).astype(np.uint8))


def with_neighbours(nuclei: Nuclei) -> Nuclei:
    """Some neighbours for all but the first, which is alone."""
    count = np.arange(len(nuclei), dtype=np.float32)
    return replace(
        nuclei, neighbours_50um=count, nearest_um=np.where(count > 0, 60 / (count + 1), np.nan).astype("f4")
    )


def with_classes(nuclei: Nuclei, values: tuple[int, ...]) -> Nuclei:
    """One class after the other, each with the largest probability for its own."""
    place = np.arange(len(nuclei)) % len(values)
    weight = np.random.default_rng(0).integers(1, 100, (len(nuclei), len(values)))
    weight[np.arange(len(nuclei)), place] = 120
    probability = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    return replace(nuclei, class_value=np.array(values, np.uint8)[place], class_probability=probability)


def decode_whole(labels: np.ndarray, frame: Frame | None = None, area: Box | None = None):
    """Decode a label image as a frame of one block, at 0.5 um/px."""
    height, width = labels.shape
    frame = frame or Frame(width, height)
    area = area or Box(0, 0, width, height)
    decoding = Decoding(lambda maps, area: Labels.of(labels), frame, area, 0.5)
    return decode_block(planes_of(maps_of(labels)), frame.box, frame.box, decoding)


def pixels_of(runs: np.ndarray, index: int, shape: tuple[int, int]) -> np.ndarray:
    """Paint one nucleus' runs."""
    mask = np.zeros(shape, bool)
    for _, y, start, stop in runs[runs[:, 0] == index]:
        mask[y, start:stop] = True
    return mask


def joined(parts: Iterable[Nuclei]) -> Nuclei:
    """Put tables one after another; ids stay as they are."""
    tables = list(parts) or [Nuclei.empty()]
    columns = {f.name: np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Nuclei)}
    before = np.cumsum([0] + [len(table) for table in tables[:-1]])
    columns["runs"][:, 0] += np.repeat(before, [len(table.runs) for table in tables]).astype(np.int32)
    return Nuclei(**columns)


def same(first: Nuclei, second: Nuclei) -> None:
    """Whether two tables are equal to the last bit, but for their ids."""
    for column in fields(Nuclei):
        one, other = getattr(first, column.name), getattr(second, column.name)
        if column.name == "polygon":
            one, other = shapely.to_wkb(one), shapely.to_wkb(other)
        if column.name != "id":
            np.testing.assert_array_equal(one, other, err_msg=column.name)


def by_anchor(nuclei: Nuclei) -> Nuclei:
    first = nuclei.runs[np.searchsorted(nuclei.runs[:, 0], np.arange(len(nuclei)))]
    return nuclei.take(np.lexsort((first[:, 2], first[:, 1], *nuclei.anchor.T)))


def threshold(maps: np.ndarray, area: Box) -> Labels:
    """A head's decoding that depends on nothing but the object itself; its numbers depend on the window."""
    return Labels.of(ndimage.label(maps[0] >= 128)[0])


def drop_long(maps: np.ndarray) -> None:
    """Take out what a margin could cut: blobs that touch are one object to `threshold`, and may be longer."""
    parts = ndimage.label(maps[0] >= 128)[0]
    for index, box in enumerate(ndimage.find_objects(parts), 1):
        if max(part.stop - part.start for part in box) > MARGIN:
            maps[0][parts == index] = 0


def decode_in_blocks(maps: np.ndarray, side: int, decoding: Decoding, margin: int = MARGIN) -> list:
    frame, planes = decoding.frame, planes_of(maps)
    found = []
    for y in range(0, frame.height, side):
        for x in range(0, frame.width, side):
            block = Box(x, y, side, side).intersection(frame.box)
            window = block.grown(margin).intersection(frame.box)
            rows, columns = window.slices
            part = Planes(planes.maps[:, rows, columns], planes.stains[:, rows, columns])
            found.append(decode_block(part, window, block, decoding))
    return found
