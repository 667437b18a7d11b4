"""A network that goes on learning as it reads: its steps, and what they may depend on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_model import SYMBOLS, make_model

from jaxchar.errors import JaxcharError
from jaxchar.scoring import dynamic
from jaxchar.scoring.dynamic import learn_while_reading
from jaxchar.scoring.protocols import stateful_pass

TRAINING = np.random.default_rng(0).integers(0, len(SYMBOLS), 200).astype(np.uint8)
TEXT = np.random.default_rng(1).integers(0, len(SYMBOLS), 150).astype(np.uint8)


@pytest.fixture(scope="module", params=["gru", pytest.param("lstm", marks=pytest.mark.slow)])
def model(request):
    return make_model(cell=request.param)


def gradients(model, params, carry, ids):
    """Return the gradient of the mean surprise of ids[1:], the carry after it, and the surprises."""

    def loss(params):
        logits, after = nnx.merge(model.graphdef, params)(ids[None, :-1], carry)
        surprises = optax.softmax_cross_entropy_with_integer_labels(logits[0], ids[1:])
        return surprises.mean(), (after, surprises)

    slopes, (carry, surprises) = jax.grad(loss, has_aux=True)(params)
    return slopes, carry, surprises


def pieces_of(ids):
    """Return what each step reads: 32 characters and the one after them; the last step what is left."""
    return [jnp.asarray(ids[start : start + 33]) for start in range(0, len(ids) - 1, 32)]


def read_slowly(model, ids, training):
    """Do what the module's description says, one step after another."""
    gradients_of = jax.jit(partial(gradients, model))
    carry, sums, whole = nnx.merge(model.graphdef, model.state).initial_carry(1), 0.0, pieces_of(training)
    whole = [piece for piece in whole if len(piece) == 33]
    for piece in whole:
        slopes, carry, _ = gradients_of(model.state, carry, piece)
        sums = (
            jax.tree.map(lambda slope: slope**2, slopes)
            if sums == 0.0
            else jax.tree.map(lambda total, slope: total + slope**2, sums, slopes)
        )
    typical = jax.tree.map(lambda total: np.sqrt(total / len(whole)), sums)
    mean = np.concatenate([np.ravel(size) for size in jax.tree.leaves(typical)]).mean()
    params, carry, found = model.state, nnx.merge(model.graphdef, model.state).initial_carry(1), []
    for piece in pieces_of(ids):
        slopes, carry, surprises = gradients_of(params, carry, piece)
        found.append(surprises)
        params = jax.tree.map(
            lambda now, slope, size, first: (
                now
                - 1e-3 * np.clip(slope / (size + 0.1 * mean), -10, 10)
                + 1e-3 * size / mean * (first - now)
            ),
            params,
            slopes,
            typical,
            model.state,
        )
    return np.concatenate(found), params


def test_it_is_what_the_formula_says(model):
    learned = learn_while_reading(model.graphdef, model.state, TEXT, TRAINING)
    surprises, params = read_slowly(model, TEXT, TRAINING)
    np.testing.assert_array_equal(learned.predictions.positions, np.arange(1, len(TEXT)))
    np.testing.assert_allclose(learned.predictions.surprises, surprises, atol=2e-5)
    moved = jax.tree.map(lambda now, first: np.abs(now - first).max(), params, model.state)
    assert max(jax.tree.leaves(moved)) > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), learned.params, params)


def test_the_first_step_predicts_as_the_trained_network_and_later_ones_do_not(model):
    learned = learn_while_reading(model.graphdef, model.state, TEXT, TRAINING).predictions
    trained = model.predictions(jnp.asarray(TEXT), stateful_pass(len(TEXT), 1))
    for found, expected in zip(learned, trained, strict=True):
        np.testing.assert_allclose(found[:32], expected[:32], rtol=2e-5)
    assert np.abs(learned.surprises[32:] - trained.surprises[32:]).max() > 1e-3


def test_no_character_is_predicted_by_weights_that_saw_it_or_a_later_one(model):
    other = TEXT.copy()
    other[100:] = (other[100:] + 1) % len(SYMBOLS)
    found, changed = (
        learn_while_reading(model.graphdef, model.state, ids, TRAINING).predictions.surprises
        for ids in (TEXT, other)
    )
    np.testing.assert_array_equal(found[:99], changed[:99])
    assert np.abs(found[99:] - changed[99:]).min() > 1e-6


def test_the_length_of_calls_changes_nothing(model, monkeypatch):
    whole = learn_while_reading(model.graphdef, model.state, TEXT, TRAINING)
    monkeypatch.setattr(dynamic, "CALL_STEPS", 2)
    parts = learn_while_reading(model.graphdef, model.state, TEXT, TRAINING)
    np.testing.assert_allclose(whole.predictions.surprises, parts.predictions.surprises, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole.params, parts.params
    )


@pytest.mark.parametrize(
    "num_chars", [2, 33, 34, *(pytest.param(n, marks=pytest.mark.slow) for n in (64, 65, 66))]
)
def test_every_character_but_the_first_is_predicted_once(num_chars):
    model = make_model()
    learned = learn_while_reading(model.graphdef, model.state, TEXT[:num_chars], TRAINING)
    np.testing.assert_array_equal(learned.predictions.positions, np.arange(1, num_chars))
    assert {len(column) for column in learned.predictions} == {num_chars - 1}


def test_a_text_that_says_the_same_again_and_again_is_learned(model):
    saying = np.tile(TEXT[:10], 200)
    surprises = learn_while_reading(model.graphdef, model.state, saying, TRAINING).predictions.surprises
    assert surprises[-500:].mean() < surprises[:500].mean() - 0.1


def test_what_cannot_be_learned_from_is_one_line(model):
    with pytest.raises(JaxcharError, match=r"dynamic needs the training text.*leave dynamic=True out"):
        learn_while_reading(model.graphdef, model.state, TEXT, TRAINING[:1])
    with pytest.raises(JaxcharError, match="2 characters or more, but the text has 1"):
        learn_while_reading(model.graphdef, model.state, TEXT[:1], TRAINING)
    windows = make_model(batching="windows")
    with pytest.raises(JaxcharError, match="the protocol is windows; leave dynamic=True out"):
        windows.score("abcd", dynamic=True)
