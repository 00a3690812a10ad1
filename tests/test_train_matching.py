"""Pairs of points: against all pairings there are, at the reach, and where a greedy pairing is worse."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.train.matching import match_points


def every_pairing(ones, others, reach):
    """All one-to-one pairings within the reach, as (pairs, sum of distances)."""
    distances = np.linalg.norm(ones[:, None] - others[None], axis=2)
    for size in range(min(distances.shape) + 1):
        for rows in combinations(range(len(ones)), size):
            for columns in permutations(range(len(others)), size):
                paired = distances[rows, columns]
                if (paired <= reach).all():
                    yield size, paired.sum()


def points(draw, count):
    # Whole numbers give equal distances and points on one another.
    number = st.integers(0, 5) if draw(st.booleans()) else st.floats(0, 5)
    return np.array(draw(st.lists(st.tuples(number, number), max_size=count)), float).reshape(-1, 2)


@given(st.data())
def test_no_pairing_has_more_pairs_or_as_many_that_are_nearer(data):
    ones, others = points(data.draw, 4), points(data.draw, 5)
    pairs = match_points(ones, others, 2.0)
    for side in pairs.T:
        assert len(set(side.tolist())) == len(side)
    distances = np.linalg.norm(ones[pairs[:, 0]] - others[pairs[:, 1]], axis=1)
    assert (distances <= 2).all()
    best = min(every_pairing(ones, others, 2.0), key=lambda found: (-found[0], found[1]))
    assert (len(pairs), distances.sum()) == (best[0], pytest.approx(best[1]))


def test_a_nearest_partner_is_left_to_who_has_no_other():
    """The first point's nearest is the second's only one: a greedy pairing finds one pair."""
    pairs = match_points(np.array([[0.0, 2.0], [0.0, 4.0]]), np.array([[0.0, 3.0], [0.0, 0.5]]), 1.6)
    assert pairs.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(("distance", "found"), [(3.0, 1), (np.nextafter(3.0, 4), 0), (0.0, 1)])
def test_the_reach_itself_is_within(distance, found):
    assert len(match_points(np.zeros((1, 2)), np.array([[0.0, distance]]), 3.0)) == found


def test_thousands_of_points_find_themselves():
    places = np.random.default_rng(0).uniform(0, 1000, (5000, 2))
    order = np.random.default_rng(1).permutation(5000)
    assert (order[match_points(places, places[order], 3.0)[:, 1]] == np.arange(5000)).mean() > 0.99
