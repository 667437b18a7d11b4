"""Cells: their table, their first state, and the gate function of Keras 1."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from recurrent_problem import make_cell, make_problem

from jaxchar.recurrence.cells import (
    CELL_KINDS,
    HiddenCarry,
    LSTMCarry,
    hard_sigmoid,
    initial_carry,
    native_name_of,
)


@pytest.mark.parametrize(("name", "carry_type"), [("lstm", LSTMCarry), ("gru", HiddenCarry)])
def test_a_text_starts_with_zeros(name, carry_type):
    carry = initial_carry(make_cell(make_problem(name)), 5)
    assert isinstance(carry, carry_type)
    assert all(part.shape == (5, 3) and not part.any() for part in carry)


def test_hard_sigmoid_is_keras_1s_clipped_line():
    x = np.array([-9, -2.5, -1, 0, 1, 2.5, 9], np.float32)
    np.testing.assert_allclose(hard_sigmoid(x), [0, 0, 0.3, 0.5, 0.7, 1, 1], atol=1e-7)


@pytest.mark.parametrize("name", CELL_KINDS)
def test_the_table_has_the_number_of_gate_blocks_of_flax(name):
    cell = CELL_KINDS[name].flax_type(3, 5, rngs=nnx.Rngs(0))
    assert cell.dense_i.kernel.shape == (3, 5 * CELL_KINDS[name].gate_blocks)
    assert cell.dense_h.kernel.shape == (5, 5 * CELL_KINDS[name].gate_blocks)


@pytest.mark.parametrize(
    ("cell_type", "options", "expected"),
    [
        (nnx.OptimizedLSTMCell, {}, "lstm"),
        (nnx.OptimizedLSTMCell, {"gate_fn": hard_sigmoid}, "hard_lstm"),
        (nnx.GRUCell, {"dtype": jnp.float32}, "gru"),
        (nnx.GRUCell, {"gate_fn": hard_sigmoid}, "hard_gru"),
        (nnx.GRUCell, {"gate_fn": jnp.tanh}, None),
        (nnx.GRUCell, {"dtype": jnp.bfloat16}, None),
        (nnx.SimpleCell, {}, None),
    ],
)
def test_only_a_cell_that_the_library_computes_has_a_name_there(cell_type, options, expected):
    assert native_name_of(cell_type(3, 5, rngs=nnx.Rngs(0), **options)) == expected
