"""Two predictors side by side: never much worse than the better one, wherever that changes."""

import math

import numpy as np

from jaxchar.memory.trust import trusted_surprises

DRAW = np.random.default_rng(0)
GOOD, BAD = DRAW.gamma(2, 0.5, 5_000), DRAW.gamma(2, 1.0, 5_000)


def test_it_costs_at_most_two_thirds_of_a_nat_more_than_the_better_one():
    for first, second in ((GOOD, BAD), (BAD, GOOD)):
        found = trusted_surprises(first, second)
        assert GOOD.sum() - 1e-3 < found.sum() < GOOD.sum() + math.log(2) + 5_000 * 2e-4


def test_it_follows_where_the_better_one_changes():
    first, second = np.concatenate([GOOD, BAD]), np.concatenate([BAD, GOOD])
    assert trusted_surprises(first, second).sum() < 2 * GOOD.sum() + 3 * math.log(1e4)
    assert min(first.sum(), second.sum()) > 2 * GOOD.sum() + 1_000


def test_a_character_decides_only_of_those_after_it():
    other = BAD.copy()
    other[2_000:] = 30.0
    before, after = trusted_surprises(GOOD, BAD), trusted_surprises(GOOD, other)
    np.testing.assert_array_equal(before[:2_000], after[:2_000])
    assert before[2_000] != after[2_000]


def test_what_both_thought_impossible_is_a_number():
    found = trusted_surprises(np.array([900.0, 1.0], np.float32), np.array([900.0, 2.0], np.float32))
    assert np.isfinite(found).all() and found[1] < 2
