"""Optimizers of the user's: which can be used, and in what words the others are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.model.optimizer import make_optimizer
from jaxchar.model.own_optimizer import check_own_optimizer, described, difference_of, own_optimizer
from jaxchar.model.split import model_structure

_, PARAMS = model_structure(Config(hidden_size=4), 5)


def stateful(state, after=None):
    """Return a transformation with a state, which becomes another one after a step."""
    return optax.GradientTransformation(
        lambda params: state, lambda grads, _, params=None: (grads, state if after is None else after)
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(1e-3, mu_dtype=jnp.bfloat16),
        optax.lion(1e-3),
        optax.chain(
            optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adamw)(learning_rate=1e-3)
        ),
        optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau()),
        optax.MultiSteps(optax.sgd(0.1), 3).gradient_transformation(),
        optax.add_noise(0.1, 0.5, jax.random.key(0)),
        optax.add_noise(0.1, 0.5, 7),
        stateful({"key": jax.random.key(0, impl="rbg"), "raw": jax.random.PRNGKey(0)}),
        optax.identity(),
        stateful(jnp.zeros(3)),
    ],
)
def test_any_transformation_that_keeps_shapes_can_be_used(optimizer):
    check_own_optimizer(own_optimizer(optimizer), PARAMS)


def test_a_random_key_is_saved_as_its_numbers_and_used_as_the_key_that_it_was():
    noise = optax.add_noise(0.1, 0.5, jax.random.key(5))
    params = {"a": jnp.zeros(3)}
    ours, theirs = own_optimizer(noise).init(params), noise.init(params)
    assert ours.rng_key.dtype == jnp.uint32
    for _ in range(3):
        ours_updates, ours = own_optimizer(noise).update(params, ours, params)
        theirs_updates, theirs = noise.update(params, theirs, params)
        np.testing.assert_array_equal(ours_updates["a"], theirs_updates["a"])


def test_no_array_of_the_first_state_has_a_type_that_a_checkpoint_would_lose():
    optimizer = stateful({"rate": 0.5, "count": jnp.asarray(1.0)})
    assert any(leaf.weak_type for leaf in jax.tree.leaves(jax.eval_shape(optimizer.init, PARAMS)))
    shapes = jax.eval_shape(own_optimizer(optimizer).init, PARAMS)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("given", [None, 3, optax.adam, {"adam": 1}, optax.MultiSteps(optax.sgd(0.1), 3)])
def test_what_is_no_transformation_is_refused(given):
    with pytest.raises(JaxcharError, match="optimizer must be the name of one, or an optax"):
        own_optimizer(given)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (
            stateful({"a": jnp.zeros(3)}, {"a": jnp.zeros(4)}),
            r"its state: a was float32\[3\], and is float32\[4\]",
        ),
        (stateful({"a": jnp.zeros(3)}, {}), "its state: a was there, and is not now"),
        (stateful({"a": "text"}), "cannot be used"),
        (stateful({"a b": jnp.zeros(3)}), "an array 'a b'"),
        (stateful({"a.b": jnp.zeros(3), "a": {"b": jnp.zeros(3)}}), "have the same name"),
        (optax.GradientTransformation(lambda p: 1 / 0, lambda *_: None), "division by zero"),
        (
            optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (jnp.zeros(3), s)),
            "of its updates",
        ),
        (optax.lbfgs(1e-3), "value_fn"),
    ],
)
def test_what_cannot_be_trained_with_or_saved_is_refused_in_one_line(optimizer, said):
    with pytest.raises(JaxcharError, match=said) as raised:
        check_own_optimizer(own_optimizer(optimizer), PARAMS)
    assert "\n" not in str(raised.value)


def test_a_difference_names_the_array():
    adam, sgd = (described(jax.eval_shape(o.init, PARAMS)) for o in (optax.adam(1e-3), optax.sgd(1e-3)))
    assert difference_of(adam, adam) == ""
    assert difference_of(adam, sgd) == "0.count was there, and is not now"
    assert difference_of(sgd, adam) == "0.count was not there, and is now"


def test_the_name_alone_stands_for_no_optimizer():
    with pytest.raises(JaxcharError, match="give that: optimizer=optax"):
        make_optimizer(Config(optimizer="custom"), 10, 100)
