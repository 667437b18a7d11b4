"""The fast implementation in JAX: held to the equations in float64, and to finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recurrent_problem import CELLS, check_against_equations

from jaxchar.recurrence import fused

SYMBOLS = 7


@pytest.mark.parametrize(
    ("name", "masked"), [*((name, True) for name in CELLS), ("lstm", False), ("gru", False), ("rnn", False)]
)
def test_fused_and_all_its_gradients_equal_the_float64_equations(name, masked):
    check_against_equations("fused", name, masked)


@pytest.mark.parametrize("one_hot_product_symbols", [SYMBOLS, SYMBOLS - 1])
def test_the_gradient_of_a_lookup_sums_the_rows_of_each_symbol(one_hot_product_symbols, monkeypatch):
    monkeypatch.setattr(fused, "ONE_HOT_PRODUCT_SYMBOLS", one_hot_product_symbols)
    rng = np.random.default_rng(2)
    ids, d_rows = rng.integers(0, SYMBOLS, (6, 5)), rng.normal(size=(6, 5, 3)).astype(np.float32)
    expected = np.zeros((SYMBOLS, 3))
    np.add.at(expected, ids, d_rows)
    rows, backward = jax.vjp(lambda table: fused.lookup(table, ids), jnp.arange(SYMBOLS * 3.0).reshape(-1, 3))
    np.testing.assert_array_equal(rows[..., 0], ids * 3)
    np.testing.assert_allclose(backward(d_rows)[0], expected, atol=1e-5)
