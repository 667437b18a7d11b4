"""The implementations of a cell over time: the same at odd sizes, from ids, and in another type."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from recurrent_problem import (
    assert_close,
    clipped_line,
    make_problem,
    needs_compiler,
    reference_forward,
    reference_gradients,
    run,
)

from jaxchar.recurrence import fused


def test_the_hard_gates_of_the_reference_problem_are_shut_open_and_between():
    problem = make_problem("hard lstm")
    gates = clipped_line(problem.values["inputs"] @ problem.values["input_kernel"])
    assert (gates == 0).any() and (gates == 1).any() and ((gates > 0) & (gates < 1)).any()


@cache
def by_scan(name, T, B, D, H):
    """Return a problem, and what scan makes of it: the same for whatever is compared with it."""
    problem = make_problem(name, T, B, D, H, masked=B > 1)
    return problem, *run(problem, "scan")


# In the fourth, fused forms the recurrent product the other way round; in the last, native has several
# slices of strips and blocks, none of them whole.
@pytest.mark.parametrize(
    ("T", "B", "D", "H"), [(1, 1, 65, 5), (9, 7, 65, 5), (30, 1, 3, 16), (3, 8, 4, 32), (2, 101, 3, 37)]
)
@pytest.mark.parametrize(
    ("implementation", "name"),
    [
        *(("fused", name) for name in ("hard lstm", "gru", "rnn")),
        *(pytest.param("native", name, marks=needs_compiler) for name in ("lstm", "hard lstm", "gru")),
    ],
)
def test_the_fast_paths_equal_scan_at_odd_sizes(implementation, name, T, B, D, H):
    problem, expected, expected_gradients = by_scan(name, T, B, D, H)
    outputs, gradients = run(problem, implementation)
    assert outputs["hiddens"].shape == (T, B, H)
    assert_close(outputs, expected, 1e-4)
    assert_close(gradients, expected_gradients, 1e-4)


# ---- ids -----------------------------------------------------------------------------------------

SYMBOLS = 7


@pytest.fixture(scope="module", params=[("lstm", False), ("lstm", True), ("gru", False)], ids=str)
def ids_and_rows(request):
    """A problem, its input ids, and what the reference makes of their one-hot rows."""
    name, masked = request.param
    problem = make_problem(name, T=5, B=4, D=SYMBOLS, masked=masked)
    ids = np.random.default_rng(1).integers(0, SYMBOLS - 1, (5, 4))  # some symbols twice, one never
    outputs, gradients = run(problem, "scan", jnp.eye(SYMBOLS)[ids])
    del gradients["inputs"]
    return problem, jnp.asarray(ids), outputs, gradients


@pytest.mark.parametrize(
    ("implementation", "one_hot_product_symbols"),
    [
        pytest.param("native", SYMBOLS, marks=needs_compiler),
        ("fused", SYMBOLS),
        ("fused", SYMBOLS - 1),
        ("scan", SYMBOLS),
    ],
)
def test_ids_equal_their_one_hot_rows(ids_and_rows, implementation, one_hot_product_symbols, monkeypatch):
    monkeypatch.setattr(fused, "ONE_HOT_PRODUCT_SYMBOLS", one_hot_product_symbols)
    problem, ids, expected, expected_gradients = ids_and_rows
    outputs, gradients = run(problem, implementation, ids)
    assert_close(outputs, expected)
    assert_close(gradients, expected_gradients)


# ---- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["fused", "scan"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_bfloat16_is_close_to_float32_and_keeps_float32_carries_and_gradients(name, implementation):
    problem = make_problem(name, masked=True)
    outputs, gradients = run(problem, implementation, dtype=jnp.bfloat16)
    assert {array.dtype for array in (outputs | gradients).values()} == {jnp.dtype("float32")}
    expected = reference_forward(problem, problem.values)
    assert_close(outputs, expected, 0.05)
    assert_close(gradients, reference_gradients(problem), 0.05)
    assert np.abs(outputs["hiddens"] - expected["hiddens"]).max() > 1e-4, "it is float32 after all"
