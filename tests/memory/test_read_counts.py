"""What was read before each character, against counting from the definition."""

import numpy as np
import pytest
from memory_problem import random_text

from jaxchar.memory.read_counts import ORDERS_READ, ReadCounts, count_read


def counted_plainly(ids, place, order, lately):
    """Return the five counts of one character and one order, from their definitions."""
    if place < order:
        return 0, 0, 0, 0, 0
    context = list(ids[place - order : place])
    places = [q for q in range(order, place) if list(ids[q - order : q]) == context]
    followed = [ids[q] for q in places]
    late = [ids[q] for q in places if q >= place - lately]
    return len(followed), len(set(followed)), followed.count(ids[place]), len(late), late.count(ids[place])


@pytest.mark.parametrize("lately", [1, 7, 40, 1_000])
def test_they_are_those_of_the_definition(lately):
    ids = random_text(150, seed=3)
    expected = [[counted_plainly(ids, p, k, lately) for k in ORDERS_READ] for p in range(len(ids))]
    found = count_read(ids, lately)
    assert found.hits.sum() > 100
    np.testing.assert_array_equal(np.stack(found, axis=-1), np.array(expected))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7])
def test_a_text_may_be_shorter_than_a_context(length):
    found = count_read(random_text(length))
    assert all(part.shape == (length, len(ORDERS_READ)) for part in found)


def test_a_character_counts_only_for_those_after_it():
    ids = random_text(400).astype(np.int64)
    other = ids.copy()
    other[200:] = other[200:][::-1]
    for mine, theirs in zip(count_read(ids), count_read(other), strict=True):
        np.testing.assert_array_equal(mine[:200], theirs[:200])


def test_many_symbols_are_told_apart():
    ids = np.array([65_535, 1, 65_535, 1, 65_534, 1], np.uint16)
    found = count_read(ids)
    assert found[ReadCounts._fields.index("occurrences")][:, 0].tolist() == [0, 0, 0, 1, 1, 0]
    assert found.hits[:, 0].tolist() == [0, 0, 0, 1, 0, 0]
