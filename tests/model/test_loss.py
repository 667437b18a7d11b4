"""Cross-entropy and its units, held to NumPy."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxchar.model.loss import Means, MetricSums, bits_per_char, cross_entropy_sums

pytestmark = pytest.mark.device
B, T, V = 2, 3, 5
LOGITS = arrays(np.float32, (B, T, V), elements=st.floats(-100, 100, width=32))
TARGETS = arrays(np.int32, (B, T), elements=st.integers(0, V - 1))
WEIGHTS = arrays(np.float32, (B, T), elements=st.sampled_from([0.0, 1.0]))


def losses_of(logits, targets):
    """Return -log softmax(logits)[target], [B, T] float64."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_softmax, targets[..., None], axis=-1)[..., 0]


@given(LOGITS, TARGETS, WEIGHTS)
@settings(max_examples=50, deadline=None)
def test_totals_are_weighted_sums_of_a_numpy_log_softmax(logits, targets, weights):
    totals = cross_entropy_sums(logits, targets, weights)
    losses = losses_of(logits, targets)
    np.testing.assert_allclose(totals.loss, (losses * weights).sum(), rtol=1e-5, atol=1e-4)
    assert totals.correct == ((logits.argmax(-1) == targets) * weights).sum()
    assert totals.count == weights.sum()


def test_padding_counts_for_nothing():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(B, T, V)), rng.integers(0, V, (B, T))
    weights = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    changed = np.where(weights[..., None] > 0, logits, 1e6 * rng.normal(size=logits.shape))
    whole = cross_entropy_sums(jnp.asarray(logits), targets, weights)
    assert whole == cross_entropy_sums(jnp.asarray(changed), (targets + (weights == 0)) % V, weights)


def test_bfloat16_logits_are_summed_in_float32():
    logits = jnp.zeros((B, T, V), jnp.bfloat16)
    totals = cross_entropy_sums(logits, np.zeros((B, T), int), np.ones((B, T)))
    assert totals.loss.dtype == jnp.float32
    np.testing.assert_allclose(totals.loss, B * T * math.log(V), rtol=1e-6)


def test_accuracy_is_the_share_of_right_first_guesses():
    logits = np.eye(4)[[0, 1, 2, 3]]
    totals = cross_entropy_sums(jnp.asarray(logits), np.array([0, 1, 2, 0]), np.array([1, 1, 0, 1]))
    means = Means.of(totals)
    assert (means.accuracy, means.count) == (2 / 3, 3)
    assert means.loss == pytest.approx(float(totals.loss) / 3)


def test_totals_add_up_from_zero():
    one = MetricSums(jnp.float32(1.5), jnp.int32(2), jnp.int32(3))
    assert MetricSums.zero().add(one) == one
    assert one.add(one) == MetricSums(3.0, 4, 6)


def test_the_mean_of_nothing_is_zero():
    assert Means.of(MetricSums.zero()) == Means(0.0, 0.0, 0)


@pytest.mark.parametrize(("nats", "bits"), [(0.0, 0.0), (math.log(2), 1.0), (math.log(256), 8.0)])
def test_bits_per_char_is_the_loss_in_units_of_ln_2(nats, bits):
    assert bits_per_char(nats) == pytest.approx(bits)
