"""Metrics against slow and obvious ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from wsiseg.train.metrics import Counts, OutlineCounts, compare, compare_outlines, counted_part
from wsiseg.train.sums import pooled


def blobs(seed, count):
    """Random boxes, later ones on top; numbered with gaps."""
    random = np.random.default_rng(seed)
    labels = np.zeros((30, 40), np.int32)
    for name in range(count):
        y, x, h, w = random.integers([0, 0, 3, 3], [24, 34, 12, 12])
        labels[y : y + h, x : x + w] = 3 * name + 2
    return labels


def regions(labels):
    return [labels == name for name in np.unique(labels) if name]


def slow_iou(a, b):
    return (a & b).sum() / (a | b).sum()


def slow_aji(truth, found):
    """Kumar et al. 2017, algorithm 1, as it stands in the paper."""
    intersection = union = 0
    used = set()
    for t in regions(truth):
        scores = [slow_iou(t, f) for f in regions(found)]
        if not scores or max(scores) == 0:
            union += t.sum()
            continue
        best = int(np.argmax(scores))
        intersection += (t & regions(found)[best]).sum()
        union += (t | regions(found)[best]).sum()
        used.add(best)
    union += sum(f.sum() for i, f in enumerate(regions(found)) if i not in used)
    return intersection / union if union else 1.0


@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(0, 8))
def test_the_figures_are_those_of_their_definitions(seed, true_count, found_count):
    truth, found = blobs(seed, true_count), blobs(seed + 1, found_count)
    # Neighbouring seeds share no boxes; half of the found ones copy the truth, shifted by a pixel.
    found[:, :20] = np.roll(truth, 1, 0)[:, :20]
    counts = compare(truth, found)
    ious = [slow_iou(t, f) for t in regions(truth) for f in regions(found)]
    matched = [iou for iou in ious if iou > 0.5]
    nuclei = len(regions(truth)) + len(regions(found))
    assert counts.true == len(regions(truth))
    assert counts.predicted == len(regions(found))
    assert counts.f1 == pytest.approx(2 * len(matched) / nuclei if nuclei else 1)
    assert counts.pq == pytest.approx(2 * sum(matched) / nuclei if nuclei else 1)
    assert counts.aji == pytest.approx(slow_aji(truth, found))
    assert counts.precision == pytest.approx(len(matched) / len(regions(found)) if found.any() else 1)
    assert counts.recall == pytest.approx(len(matched) / len(regions(truth)) if truth.any() else 1)
    either = ((truth > 0) | (found > 0)).sum()
    assert counts.iou == pytest.approx(((truth > 0) & (found > 0)).sum() / either if either else 1)
    pixels = (truth > 0).sum() + (found > 0).sum()
    assert counts.dice == pytest.approx(2 * ((truth > 0) & (found > 0)).sum() / pixels if pixels else 1)


@given(st.integers(0, 10_000))
def test_no_assignment_finds_more_matches(seed):
    truth = blobs(seed, 9)
    found = np.roll(truth, (1, 2), (0, 1))
    good = np.array([[slow_iou(t, f) > 0.5 for f in regions(found)] for t in regions(truth)])
    assert compare(truth, found).matched == good[linear_sum_assignment(good, maximize=True)].sum()


def slow_outlines(truth, found):
    """For each true nucleus, try every found one."""
    recalled = dice_sum = intersection = area = 0
    for t in regions(truth):
        best = max(regions(found), key=lambda f: slow_iou(t, f), default=np.zeros_like(t))
        if not (t & best).any():
            best = np.zeros_like(t)
        recalled += slow_iou(t, best) > 0.5
        dice_sum += 2 * (t & best).sum() / (t.sum() + best.sum())
        intersection += (t & best).sum()
        area += t.sum() + best.sum()
    nuclei = len(regions(truth))
    return (recalled / nuclei, dice_sum / nuclei, 2 * intersection / area) if nuclei else (1, 1, 1)


@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(0, 8))
def test_outlines_against_trying_every_pair(seed, true_count, found_count):
    truth, found = blobs(seed, true_count), blobs(seed + 1, found_count)
    found[:, :20] = np.roll(truth, 1, 0)[:, :20]
    counts = compare_outlines(truth, found)
    assert counts.nuclei == len(regions(truth))
    assert tuple(counts.figures().values()) == pytest.approx(slow_outlines(truth, found))
    assert list(counts.figures()) == ["recall", "dice", "pooled_dice"]


def test_what_lies_beside_the_outlines_does_not_count():
    truth, found = np.zeros((2, 20, 20), np.int32)
    truth[2:8, 2:8] = 1
    found[2:8, 2:8] = 4
    found[12:18, 12:18] = 5
    assert compare_outlines(truth, found) == OutlineCounts(1, 1, 1.0, 36, 72)
    assert compare(truth, found).precision == 0.5


def slow_counted(labels, ignored):
    out = labels.copy()
    for region in regions(labels):
        if (region & ignored).sum() > 0.5 * region.sum():
            out[region] = 0
    out[ignored] = 0
    return out


@given(st.integers(0, 10_000), st.integers(0, 8), st.floats(0, 1))
def test_ignored_pixels_take_nuclei_along_that_lie_mostly_on_them(seed, count, share):
    labels = blobs(seed, count)
    ignored = np.zeros(labels.shape, bool)
    ignored[:, : round(share * 40)] = True
    assert (counted_part(labels, ignored) == slow_counted(labels, ignored)).all()


def test_a_nucleus_half_ignored_stays_with_its_other_half():
    labels = np.full((4, 4), 3, np.int32)
    ignored = np.zeros((4, 4), bool)
    ignored[:2] = True
    assert (counted_part(labels, ignored)[2:] == 3).all()
    ignored[2, 0] = True
    assert not counted_part(labels, ignored).any()


def test_a_perfect_prediction_is_perfect_whatever_its_numbers():
    truth = blobs(1, 6)
    counts = compare(truth, truth * 7)
    assert counts.dice == counts.f1 == counts.precision == counts.recall == counts.pq == counts.aji == 1


def test_nothing_found_where_nothing_is_counts_as_right():
    empty = np.zeros((5, 5), np.int32)
    assert compare(empty, empty).dice == compare(empty, empty).f1 == compare(empty, empty).aji == 1


@pytest.mark.parametrize("swapped", [False, True])
def test_one_side_empty_is_all_wrong(swapped):
    pair = blobs(2, 4), np.zeros((30, 40), np.int32)
    counts = compare(*(pair[::-1] if swapped else pair))
    assert counts.dice == counts.f1 == counts.pq == counts.aji == 0


def test_an_iou_of_one_half_is_no_match():
    truth = np.ones((4, 4), np.int32)
    found = truth.copy()
    found[2:] = 2
    assert compare(truth, found).matched == 0


def test_images_without_any_background():
    assert compare(np.ones((4, 4), np.int32), np.full((4, 4), 5)).f1 == 1


def test_counts_add_up_over_images():
    pairs = [(blobs(i, 5), blobs(i + 100, 5)) for i in range(3)]
    total = pooled(compare(*pair) for pair in pairs)
    side_by_side = compare(
        np.concatenate([np.where(t > 0, t + 100 * i, 0) for i, (t, _) in enumerate(pairs)]),
        np.concatenate([np.where(f > 0, f + 100 * i, 0) for i, (_, f) in enumerate(pairs)]),
    )
    assert total.true == sum(len(regions(truth)) for truth, _ in pairs)
    assert total.f1 == pytest.approx(side_by_side.f1)
    assert total.pq == pytest.approx(side_by_side.pq)
    assert total.aji == pytest.approx(side_by_side.aji)
    assert total.dice == pytest.approx(side_by_side.dice)


def test_the_figures_are_reported_in_one_order():
    assert list(Counts().figures()) == ["dice", "iou", "f1", "precision", "recall", "pq", "aji"]
    assert set(Counts().figures().values()) == {1.0}
