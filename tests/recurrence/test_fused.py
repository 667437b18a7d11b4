"""The fast implementation in JAX: held to the equations in float64, and to finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recurrent_problem import CELLS, assert_close, check_against_equations, make_problem, run

from jaxchar.recurrence import fused
from jaxchar.tracing import traced_for

pytestmark = pytest.mark.device
SYMBOLS = 7


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        *((name, True) for name in CELLS),
        ("lstm", False),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in ("gru", "rnn")),
    ],
)
def test_fused_and_all_its_gradients_equal_the_float64_equations(name, masked):
    check_against_equations("fused", name, masked)


@pytest.mark.parametrize(
    ("name", "T"), [pytest.param("lstm", 1, marks=pytest.mark.slow), ("gru", fused.ACCELERATOR_UNROLL + 3)]
)
def test_what_accelerators_compute_is_the_same(name, T):
    """Time steps compiled together, some of them left over, and no barriers; here a processor computes it."""
    problem = make_problem(name, T=T, B=3, D=4, H=5, masked=True)
    outputs, gradients = run(problem, "fused")
    with traced_for("gpu"):
        unrolled, unrolled_gradients = run(problem, "auto")
    assert_close(unrolled, outputs)
    assert_close(unrolled_gradients, gradients)


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
