"""The thesis' IoU and F-score and the mean IoU of Keras, against their definitions written out over arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.train.confusion import Confusion
from wsiseg.train.sums import pooled

EVERYWHERE = np.ones((6, 7), bool)


def one_hot(mask):
    return np.stack([~mask, mask], -1).astype(float)[None]


def library_iou(truth, softmax):
    """Threshold the softmax at 0.5, sum over batch and pixels, smooth, and average the classes."""
    found = (softmax >= 0.5).astype(float)
    intersection = (truth * found).sum((0, 1, 2))
    union = (truth + found).sum((0, 1, 2)) - intersection
    return ((intersection + 1e-5) / (union + 1e-5)).mean()


def library_fscore(truth, softmax):
    found = (softmax >= 0.5).astype(float)
    hit = (truth * found).sum((0, 1, 2))
    false, missed = found.sum((0, 1, 2)) - hit, truth.sum((0, 1, 2)) - hit
    return ((2 * hit + 1e-5) / (2 * hit + missed + false + 1e-5)).mean()


def keras_mean_iou(pairs):
    """Accumulate a confusion matrix over everything; classes that never occur are left out of the mean."""
    matrix = np.zeros((2, 2))
    for truth, softmax in pairs:
        for t, p in zip(truth.reshape(-1, 2).argmax(1), softmax.reshape(-1, 2).argmax(1), strict=True):
            matrix[t, p] += 1
    found = []
    for c in range(2):
        union = matrix[c].sum() + matrix[:, c].sum() - matrix[c, c]
        if union:
            found.append(matrix[c, c] / union)
    return sum(found) / len(found)


def drawn(seed, share):
    """A truth and a softmax, (6, 7); no probability is exactly 0.5."""
    random = np.random.default_rng(seed)
    truth, nucleus = random.random((6, 7)) < share, random.random((6, 7))
    return truth, np.stack([1 - nucleus, nucleus], -1)[None]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_batch_scores_as_in_the_library(seed, share):
    truth, softmax = drawn(seed, share)
    found = Confusion.of(truth, softmax[0, ..., 1] >= 0.5, EVERYWHERE)
    assert found.iou == pytest.approx(library_iou(one_hot(truth), softmax))
    assert found.fscore == pytest.approx(library_fscore(one_hot(truth), softmax))


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 1)), min_size=1, max_size=4))
def test_keras_adds_up_before_it_divides(draws):
    fields = [drawn(*draw) for draw in draws]
    total = pooled(Confusion.of(truth, softmax[0, ..., 1] > 0.5, EVERYWHERE) for truth, softmax in fields)
    assert total.keras_mean_iou == pytest.approx(keras_mean_iou([(one_hot(t), s) for t, s in fields]))


@pytest.mark.parametrize("nucleus", [False, True])
def test_a_class_that_never_occurs(nucleus):
    mask = np.full((6, 7), nucleus)
    found = Confusion.of(mask, mask, EVERYWHERE)
    assert found.figures() == {"iou": 1, "fscore": 1, "keras_mean_iou": 1}
    # One wrong pixel: the library takes the class that has nothing else for a whole wrong class, as Keras does.
    wrong = mask.copy()
    wrong[0, 0] = not nucleus
    found = Confusion.of(mask, wrong, EVERYWHERE)
    assert found.iou == pytest.approx(library_iou(one_hot(mask), one_hot(wrong)))
    assert found.iou == pytest.approx(41 / 42 / 2, abs=1e-4)
    assert found.keras_mean_iou == pytest.approx(41 / 42 / 2)


def test_only_counted_pixels_count():
    truth, softmax = drawn(0, 0.5)
    found = softmax[0, ..., 1] >= 0.5
    counted = np.random.default_rng(1).random(truth.shape) < 0.5
    assert Confusion.of(truth, found, counted) == Confusion.of(
        truth[counted], found[counted], np.ones(counted.sum(), bool)
    )
    assert Confusion.of(truth, found, ~EVERYWHERE) == Confusion()
    assert Confusion().figures() == {"iou": 1, "fscore": 1, "keras_mean_iou": 1}
