"""Intervals over groups: against theory, against exact cases, and whatever the order of the images."""

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from wsiseg.train.bootstrap import intervals
from wsiseg.train.metrics import Counts, Detections
from wsiseg.train.sums import Sums


@dataclass(frozen=True, slots=True)
class Mean(Sums):
    FIGURES: ClassVar[tuple[str, ...]] = ("mean",)

    total: float = 0.0
    count: int = 0

    @property
    def mean(self):
        return self.total / self.count


def of_values(values):
    return intervals((f"patient {i}", Mean(value, 1)) for i, value in enumerate(values))["mean"]


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = of_values(values)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_the_truth_lies_within_nineteen_times_of_twenty():
    random = np.random.default_rng(1)
    held = [low < 5 < high for low, high in (of_values(random.normal(5, 2, 40)) for _ in range(200))]
    # 0.95 less a little, for 40 are few; the binomial error of 200 trials is 0.015.
    assert 0.89 < np.mean(held) < 0.985


def test_two_groups_give_either_alone():
    """A draw is AA, AB, BA or BB: more than 2.5 % of the draws are each of the extremes."""
    good, bad = Detections(predicted=10, true=10, matched=9), Detections(predicted=30, true=30, matched=6)
    found = intervals([("A", good), ("B", bad)])
    assert found == {name: (pytest.approx(0.2), pytest.approx(0.9)) for name in ("f1", "precision", "recall")}


def test_images_of_one_group_are_drawn_together():
    random = np.random.default_rng(2)
    parts = [Mean(*pair) for pair in zip(random.normal(5, 2, 30), random.integers(1, 5, 30), strict=True)]
    whole = [parts[i] + parts[i + 1] + parts[i + 2] for i in range(0, 30, 3)]
    separate = intervals((f"p{i // 3}", part) for i, part in enumerate(parts))
    assert separate["mean"] == pytest.approx(intervals((f"p{i}", part) for i, part in enumerate(whole))["mean"])
    assert separate["mean"] != pytest.approx(intervals((f"q{i}", part) for i, part in enumerate(parts))["mean"])


def test_the_order_of_the_index_does_not_matter():
    scored = [(f"p{i}", Detections(predicted=10 + i, true=12, matched=i)) for i in range(8)]
    assert intervals(scored) == intervals(reversed(scored)) == intervals(scored)


def test_one_group_says_nothing_about_others():
    assert set(intervals([("A", Counts()), ("A", Counts())]).values()) == {None}


def test_hundreds_of_groups_take_less_than_a_second():
    scored = [(f"p{i}", Counts(predicted=9, true=8, matched=7, matched_iou=6.0)) for i in range(500)]
    start = time.process_time()
    assert intervals(scored)["f1"] == pytest.approx((14 / 17, 14 / 17))
    assert time.process_time() - start < 1
