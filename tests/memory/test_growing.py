"""The mixture while a text is read: its formulas, and the gate that learns."""

import jax
import numpy as np
import pytest

from jaxchar.memory.gate import Counts, Gate, evidence_of, probabilities_of
from jaxchar.memory.growing import GATE, LEARNING_RATE, learning_surprises, with_read
from jaxchar.memory.read_counts import ORDERS_READ, ReadCounts
from jaxchar.memory.text_index import ORDERS

K, R, V = len(ORDERS), len(ORDERS_READ), 60


def text_of(length, seed=0):
    """Return what a network foresaw of a made-up text, and its counts."""
    draw = np.random.default_rng(seed)
    foreseen = [draw.gamma(2, 0.7, length), draw.gamma(2, 0.6, length), -draw.gamma(1, 0.5, length)]
    kinds = draw.integers(0, 5, (length, K))
    occurrences = kinds * draw.integers(1, 20, (length, K))
    counts = Counts(*map(np.int32, (occurrences, kinds, draw.binomial(occurrences, 0.3))))
    kinds = draw.integers(0, 3, (length, R))
    occurrences = kinds * draw.integers(1, 5, (length, R))
    late = draw.binomial(occurrences, 0.5)
    hits = draw.binomial(occurrences, 0.3)
    read = ReadCounts(*map(np.int32, (occurrences, kinds, hits, late, np.minimum(hits, late))))
    return [np.float32(part) for part in foreseen], counts, read


def evidence(length, seed=0):
    foreseen, counts, read = text_of(length, seed)
    return with_read(evidence_of(*foreseen, counts, np.float32(V)), read)


def test_the_gate_fits_the_evidence():
    shapes, found = [part.shape for part in Gate.fitted(GATE)], evidence(3)
    units, experts = shapes[1][0], found.experts.shape[1]
    assert shapes == [(found.features.shape[1], units), (units,), (units, experts), (experts,)]
    assert found.was_seen.shape == found.experts.shape == (3, 1 + K + 2 * R)


def test_what_was_read_is_smoothed_with_all_counts_and_what_was_read_lately_with_that():
    foreseen, counts, read = text_of(50)
    found = with_read(evidence_of(*foreseen, counts, np.float32(V)), read)
    orders = np.asarray(probabilities_of(counts, V))
    np.testing.assert_allclose(found.experts[:, : 1 + K], np.c_[np.exp(-foreseen[0]), orders], rtol=1e-6)
    for row in range(50):
        for place, order in enumerate(ORDERS_READ):
            n, d, c, late_n, late_c = (int(part[row, place]) for part in read)
            of_all = orders[row, ORDERS.index(order)]
            of_read = (c + d * of_all) / (n + d) if n else None
            if of_read is not None:
                assert found.experts[row, 1 + K + place] == pytest.approx(of_read, rel=1e-5)
                lately = (late_c + of_read) / (late_n + 1)
                assert found.experts[row, 1 + K + R + place] == pytest.approx(lately, rel=1e-5)
            assert bool(found.was_seen[row, 1 + K + place]) == (n > 0)
            assert bool(found.was_seen[row, 1 + K + R + place]) == (late_n > 0)
    assert found.was_seen[:, 0].all()


def test_after_every_character_the_gate_takes_a_step_down_the_gradient():
    found, gate, expected = evidence(30), Gate.fitted(GATE), []

    def surprise_at(outer, place):
        at = jax.tree.map(lambda part: part[place : place + 1], found)
        weights = gate._replace(outer=outer[0], outer_bias=outer[1]).weights(at.features, at.was_seen)
        return -jax.numpy.log(jax.numpy.sum(weights * at.experts))

    outer = (gate.outer, gate.outer_bias)
    for place in range(30):
        value, gradient = jax.value_and_grad(surprise_at)(outer, place)
        expected.append(value)
        outer = jax.tree.map(lambda weights, slope: weights - LEARNING_RATE * slope, outer, gradient)
    np.testing.assert_allclose(learning_surprises(gate, found), np.array(expected), rtol=1e-4)


def test_a_character_decides_only_of_those_after_it():
    gate, found = Gate.fitted(GATE), evidence(300)
    before = np.asarray(learning_surprises(gate, found))
    after = np.asarray(learning_surprises(gate, found._replace(experts=found.experts.at[200:].set(0.1))))
    np.testing.assert_array_equal(before[:200], after[:200])
    assert not np.array_equal(before[200:], after[200:])


def test_counts_that_mislead_are_trusted_less_and_less():
    length = 2_000
    foreseen = [np.full(length, value, np.float32) for value in (1.2, 1.5, -0.7)]
    counts = Counts(*(np.full((length, K), number, np.int32) for number in (40, 30, 0)))
    read = ReadCounts(*(np.full((length, R), number, np.int32) for number in (20, 10, 0, 5, 0)))
    found = np.asarray(
        learning_surprises(Gate.fitted(GATE), with_read(evidence_of(*foreseen, counts, np.float32(V)), read))
    )
    assert found[0] > 1.21
    assert found[-1] < 1.205 and (np.diff(found) <= 1e-6).all()


def test_it_goes_on_after_what_all_thought_impossible():
    found = evidence(50)
    found = found._replace(experts=found.experts.at[10].set(0.0))
    assert np.isfinite(learning_surprises(Gate.fitted(GATE), found)).all()
