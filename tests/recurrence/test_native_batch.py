"""The C++ layer under ``jax.vmap``: equal to the loop that it stands for; and where it has no derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recurrent_problem import needs_compiler

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import native_batch, native_layer
from jaxchar.recurrence.native_layer import Inputs, Weights

T, B, D, H, N = 4, 3, 5, 6, 2


def problem(cell: str, seed: int) -> tuple:
    """Return inputs, weights, state, output and mask of a layer."""
    draw = np.random.default_rng(seed)

    def floats(*shape):
        return jnp.asarray(draw.normal(size=shape), jnp.float32)

    gates = (4 if cell == "lstm" else 3) * H
    weights = Weights(floats(D, gates), floats(gates), floats(H, gates))
    state = floats(B, H) if cell == "lstm" else None
    return Inputs(rows=floats(T, B, D)), weights, state, floats(B, H), floats(B, H)


def loss(cell, *given):
    hiddens, state, hidden = native_layer.run(cell, *given)
    return jnp.sum(hiddens**2) + jnp.sum(jnp.sin(hidden)) + (0 if state is None else jnp.sum(state**3))


@needs_compiler
@pytest.mark.parametrize(
    ("cell", "mapped"),
    [pytest.param("lstm", "inputs", marks=pytest.mark.slow), ("lstm", "weights"), ("gru", "both")],
)
def test_vmap_equals_a_loop_in_values_and_gradients(cell, mapped):
    first, second = problem(cell, 0), problem(cell, 1)
    if mapped == "inputs":
        second = (second[0], first[1], *second[2:])
    if mapped == "weights":
        second = (first[0], second[1], *first[2:])
    both = jax.tree.map(lambda *parts: jnp.stack(parts), first, second)
    axes = [None if a is b else 0 for a, b in zip(first, second, strict=True)]
    given = tuple(
        whole if axis is None else many for whole, many, axis in zip(first, both, axes, strict=True)
    )
    axes = tuple(axes)

    def value_and_gradients(*given):
        return jax.value_and_grad(lambda *given: loss(cell, *given), argnums=(0, 1, 2, 3))(*given)

    found = jax.jit(jax.vmap(value_and_gradients, in_axes=axes))(*given)
    for number, alone in enumerate((first, second)):
        for one, many in zip(
            jax.tree.leaves(value_and_gradients(*alone)), jax.tree.leaves(found), strict=True
        ):
            np.testing.assert_allclose(many[number], one, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_a_second_derivative_says_which_implementation_has_one():
    inputs, weights, *rest = problem("gru", 0)

    def gradient_size(bias):
        gradient = jax.grad(lambda bias: loss("gru", inputs, weights._replace(bias=bias), *rest))(bias)
        return jnp.sum(gradient**2)

    with pytest.raises(JaxcharError, match="second derivatives and forward mode give implementation='scan'"):
        jax.grad(gradient_size)(weights.bias)


def test_rows_are_merged_and_parted_again():
    array = jnp.arange(N * T * B * D).reshape(N, T, B, D)
    merged = native_batch._merged(array, 1)
    assert merged.shape == (T, N * B, D)
    np.testing.assert_array_equal(merged[:, :B], array[0])
    np.testing.assert_array_equal(native_batch._unmerged(merged, 1, N), array)
