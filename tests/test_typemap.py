"""One plane for many classes: what `pixel_shuffle` packs is what `class_maps` gives back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsiseg.typemap import CELL_PX, MOST_CLASSES, class_maps


@pytest.mark.parametrize("count", [2, 3, 15, 16])
def test_the_maps_are_those_that_torch_packed(count):
    maps = np.random.default_rng(count).integers(0, 256, (MOST_CLASSES, 5, 7)).astype(np.uint8)
    maps[count:] = 0
    plane = torch.pixel_shuffle(torch.from_numpy(maps), CELL_PX)[0].numpy()
    np.testing.assert_array_equal(class_maps(plane, count), maps[:count])


@pytest.mark.parametrize(("shape", "cells"), [((11, 8), (2, 2)), ((4, 4), (1, 1)), ((3, 9), (0, 2))])
def test_cells_that_the_end_cuts_are_left_out(shape, cells):
    plane = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
    found = class_maps(plane, 6)
    assert found.shape == (6, *cells)
    for place, row, column in np.ndindex(found.shape):
        r, c = divmod(place, CELL_PX)
        assert found[place, row, column] == plane[CELL_PX * row + r, CELL_PX * column + c]
