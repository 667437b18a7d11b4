"""The gate that comes with the package."""

import jax
import numpy as np
from memory_problem import FEATURES

from jaxchar.memory.gate import GATE_LEARNING_RATE, Counts, Gate, mixed_surprises
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


# ---- learning while it reads ---------------------------------------------------------------------


def text_of(length, seed=0):
    """Return what a network foresaw of a made-up text, and its counts."""
    draw = np.random.default_rng(seed)
    foreseen = [draw.gamma(2, 0.7, length), draw.gamma(2, 0.6, length), -draw.gamma(1, 0.5, length)]
    kinds = draw.integers(0, 5, (length, K))
    occurrences = kinds * draw.integers(1, 20, (length, K))
    hits = draw.binomial(occurrences, 0.3)
    return [np.float32(part) for part in foreseen], Counts(*map(np.int32, (occurrences, kinds, hits)))


def learning(foreseen, counts):
    return np.asarray(mixed_surprises(Gate.fitted(), *foreseen, counts, np.float32(60), learns=True))


def test_a_learning_gate_takes_a_step_down_the_gradient_after_every_character():
    foreseen, counts = text_of(30)
    gate, expected = Gate.fitted(), []

    def surprise_at(outer, place):
        columns = [part[place : place + 1] for part in foreseen]
        at = Counts(*(part[place : place + 1] for part in counts))
        gate_now = gate._replace(outer=outer[0], outer_bias=outer[1])
        return mixed_surprises(gate_now, *columns, at, np.float32(60))[0]

    outer = (gate.outer, gate.outer_bias)
    for place in range(30):
        value, gradient = jax.value_and_grad(surprise_at)(outer, place)
        expected.append(value)
        outer = jax.tree.map(lambda weights, slope: weights - GATE_LEARNING_RATE * slope, outer, gradient)
    np.testing.assert_allclose(learning(foreseen, counts), np.array(expected), rtol=1e-4)


def test_a_character_decides_only_of_those_after_it():
    foreseen, counts = text_of(300)
    before = learning(foreseen, counts)
    counts.hits[200:] = 0
    after = learning(foreseen, counts)
    np.testing.assert_array_equal(before[:200], after[:200])
    assert not np.array_equal(before[200:], after[200:])


def test_counts_that_mislead_are_trusted_less_and_less():
    length = 2_000
    foreseen = [np.full(length, value, np.float32) for value in (1.2, 1.5, -0.7)]
    counts = Counts(*(np.full((length, K), number, np.int32) for number in (40, 30, 0)))
    found = learning(foreseen, counts)
    assert found[0] > 1.21
    assert found[-1] < 1.205 and (np.diff(found) <= 1e-6).all()


def test_a_gate_that_learns_goes_on_after_what_it_thought_impossible():
    foreseen, counts = text_of(50)
    foreseen[0][10] = 900.0
    counts.occurrences[10] = counts.kinds[10] = counts.hits[10] = 0
    assert np.isfinite(learning(foreseen, counts)).all()
