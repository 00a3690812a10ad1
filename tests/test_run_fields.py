"""The fields and distributions of a report: the same run gives the same, and each field is shown once."""

from __future__ import annotations

import numpy as np
import pytest

from wsiseg.run.fields import OF_EACH, _chosen, _per_field
from wsiseg.run.tally import Distribution


def chosen(counts, mean=None, searched=None):
    counts = np.asarray(counts, float)
    mean = np.full(counts.shape, 0.5) if mean is None else np.asarray(mean)
    searched = np.ones(counts.shape, bool) if searched is None else searched
    return list(_chosen(searched, counts, mean * counts))


def test_tiles_add_up_to_fields_also_at_the_edge():
    tiles = np.arange(15).reshape(3, 5)
    assert _per_field(tiles).tolist() == [[0 + 1 + 5 + 6, 2 + 3 + 7 + 8, 4 + 9], [10 + 11, 12 + 13, 14]]


def test_each_kind_shows_what_it_says_and_no_field_twice():
    rng = np.random.default_rng(1)
    counts, mean = rng.integers(0, 300, (9, 11)), rng.random((9, 11))
    searched = rng.random((9, 11)) < 0.7
    found = chosen(counts, mean, searched)
    places = [place for _, place in found]
    assert len(set(places)) == len(places) == 3 * OF_EACH
    assert all(searched[place] for place in places)
    by_kind = {kind: [place for one, place in found if one == kind] for kind, _ in found}
    others = [place for place in zip(*searched.nonzero(), strict=True) if place not in by_kind["Drawn at random"]]
    densest = sorted(others, key=lambda place: -counts[place])[:OF_EACH]
    assert [counts[place] for place in by_kind["The densest"]] == [counts[place] for place in densest]
    rest = [place for place in others if place not in by_kind["The densest"] and counts[place] >= 5]
    assert by_kind["The least certain"] == sorted(rest, key=lambda place: mean[place])[:OF_EACH]


def test_the_same_run_shows_the_same_fields_and_another_run_others():
    counts = np.random.default_rng(2).integers(0, 99, (20, 20))
    assert chosen(counts) == chosen(counts)
    other = counts.copy()
    other[0, 0] += 1
    assert chosen(counts)[:OF_EACH] != chosen(other)[:OF_EACH]


@pytest.mark.parametrize(("shape", "fill", "expected"), [((1, 1), 3, 1), ((1, 2), 50, 2), ((2, 2), 0, OF_EACH)])
def test_small_and_empty_slides_show_what_there_is(shape, fill, expected):
    assert len(chosen(np.full(shape, fill))) == expected


def test_nothing_searched_shows_nothing():
    assert chosen(np.zeros((2, 2)), searched=np.zeros((2, 2), bool)) == []


def test_a_distribution_is_that_of_all_values_whatever_the_batches():
    values = np.random.default_rng(3).beta(5, 2, 5000).astype(np.float32)
    whole, parts = Distribution(0.005, 1, shown=1), Distribution(0.005, 1, shown=1)
    whole.add(values)
    for part in np.array_split(values, 7):
        parts.add(part)
    summary = whole.summary()
    assert parts.summary() == summary
    for name, expected in zip(("p05", "median", "p95"), np.percentile(values, (5, 50, 95)), strict=True):
        assert summary[name] == pytest.approx(expected, abs=0.006)
    assert summary["mean"] == pytest.approx(values.mean(), abs=0.001)
    histogram = summary["histogram"]
    assert histogram["edges"] == pytest.approx(np.linspace(0, 1, 41))
    assert sum(histogram["counts"]) == len(values)
    assert (
        histogram["counts"]
        == np.histogram(np.floor(values / 0.005) * 0.005 + 0.0025, histogram["edges"])[0].tolist()
    )
