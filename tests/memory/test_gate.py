"""The gate that comes with the package."""

import numpy as np
from memory_problem import FEATURES

from jaxchar.memory.gate import Counts, Gate, mixed_surprises
from jaxchar.memory.text_index import ORDERS

K = len(ORDERS)


def surprise(network, entropy, largest, occurrences, kinds, hits, num_symbols=60):
    """Return the surprise of one character whose contexts were all counted alike."""
    columns = (np.array([value], np.float32) for value in (network, entropy, largest))
    counts = Counts(*(np.full((1, K), number, np.int32) for number in (occurrences, kinds, hits)))
    return float(mixed_surprises(Gate.fitted(), *columns, counts, np.float32(num_symbols))[0])


def test_the_gate_fits_the_orders():
    shapes = [part.shape for part in Gate.fitted()]
    assert shapes == [(FEATURES, shapes[1][0]), (shapes[1][0],), (shapes[1][0], 1 + K), (1 + K,)]


def test_where_nothing_was_seen_it_goes_by_the_network():
    assert abs(surprise(1.2, 1.5, -0.7, 0, 0, 0) - 1.2) < 1e-6


def test_a_long_context_that_was_always_followed_by_the_same_is_believed():
    unsure = surprise(3.0, 2.5, -1.2, 50, 1, 50)
    assert unsure < 1.0 < surprise(3.0, 2.5, -1.2, 50, 1, 0)


def test_a_sure_network_is_not_talked_out_of_it():
    assert surprise(0.02, 0.1, -0.02, 3, 3, 0) < 0.7
