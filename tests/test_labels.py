"""Label images as runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from label_fields import label_images

from wsiseg.labels import Labels


@given(labels=label_images())
def test_runs_hold_exactly_the_labelled_pixels(labels):
    found = Labels.of(labels)
    assert found.shape == labels.shape
    assert found.runs.dtype == np.int32
    np.testing.assert_array_equal(found.image(), labels)
    # Row by row, and none goes on where another ends.
    assert found.runs[:, 1:3].tolist() == sorted(found.runs[:, 1:3].tolist())
    ends = {(label, y, after) for label, y, _, after in found.runs.tolist()}
    assert not ends & {(label, y, first) for label, y, first, _ in found.runs.tolist()}


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_nothing_labelled_has_no_runs(shape):
    found = Labels.of(np.zeros(shape, np.int32))
    assert found.runs.shape == (0, 4)
    assert not found.image().any()
