"""A layer in CUDA, run on a processor: held to the equations in float64, and to the implementation in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cuda_on_host import FIRST_AHEAD, IN_TURNS, LAST_AHEAD, SHUFFLED, launched, needs_compiler, on_host
from recurrent_problem import assert_close, check_against_equations, make_problem, run

from jaxchar.recurrence import cuda_layer, cuda_plan
from jaxchar.tracing import numerics, traced_for

__all__ = ["on_host"]
pytestmark = needs_compiler
KERNELS = ["forward", "backward"]


def names(calls):
    return [call[0] for call in calls]


def macros(calls):
    return dict(calls[0][1])


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("biased gru", True),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("lstm", True),
                ("hard lstm", True),
                ("gru", True),
                ("hard gru", True),
                ("lstm", False),
                ("gru", False),
            )
        ),
    ],
)
def test_cuda_and_all_its_gradients_equal_the_float64_equations(name, masked, on_host):
    check_against_equations("cuda", name, masked)
    assert names(on_host) == KERNELS and macros(on_host)["PARTS"] == 3


def compare_with_fused(problem, dtype, tolerance=2e-6):
    """Compare values and all gradients with fused.

    In bfloat16, numbers that lie beside the middle of two may be rounded to one or the other. That is rare:
    most states and their gradients are the same to float32's rounding.
    """
    expected, expected_gradients = run(problem, "fused", dtype=dtype)
    outputs, gradients = run(problem, "cuda", dtype=dtype)
    assert {array.dtype for array in (outputs | gradients).values()} == {jnp.dtype("float32")}
    is_rounded = dtype == jnp.bfloat16
    assert_close(outputs, expected, 5e-3 if is_rounded else tolerance)
    assert_close(gradients, expected_gradients, 5e-3 if is_rounded else tolerance)
    pairs = [(outputs[name], expected[name]) for name in expected]
    pairs += [(gradients[part], expected_gradients[part]) for part in ("cell", "hidden") if part in gradients]
    for found, same in pairs:
        assert np.median(np.abs(found - same)) < tolerance * max(1, np.abs(same).max())


# Two blocks of rows, the second not whole; units that are no multiple of anything; two tiles to sum over.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("lstm", jnp.bfloat16),
        pytest.param("gru", jnp.bfloat16, marks=pytest.mark.slow),
        pytest.param("gru", jnp.float32, marks=pytest.mark.slow),
    ],
)
def test_cuda_equals_fused_at_odd_sizes(name, dtype, on_host):
    compare_with_fused(make_problem(name, T=5, B=11, D=5, H=29, masked=True), dtype)
    assert macros(on_host) | {"PARTS": 1 if dtype == jnp.bfloat16 else 3, "BLOCKS": 1} == macros(on_host)


@pytest.mark.parametrize(
    ("precision", "largest"), [pytest.param("highest", 2e-6, marks=pytest.mark.slow), ("default", 1e-4)]
)
def test_a_float32_number_is_as_many_parts_as_the_precision_asks_for(precision, largest, on_host):
    """Two parts have sixteen bits, three all 24; the products of one step are compared with float64."""
    problem = make_problem("lstm", T=2, B=8, D=5, H=32)
    with traced_for(precision=precision):
        compare_with_fused(problem, jnp.float32, largest)
    assert macros(on_host)["PARTS"] == {"highest": 3, "default": 2}[precision]


@pytest.mark.parametrize(
    ("name", "blocks", "registers"),
    [
        ("lstm", 2, 240),
        pytest.param("gru", 2, 72, marks=pytest.mark.slow),
        pytest.param("lstm", 4, 230, marks=pytest.mark.slow),
        pytest.param("gru", 8, 240, marks=pytest.mark.slow),
    ],
)
def test_blocks_of_a_cluster_share_a_layer(name, blocks, registers, on_host, monkeypatch):
    """Every block has some of the units; of the recurrent kernel, some is in shared memory."""
    monkeypatch.setattr(cuda_plan, "CLUSTERS", (blocks,))
    monkeypatch.setattr(cuda_plan, "OTHER_REGISTERS", registers)
    problem = make_problem(name, T=3, B=9, D=5, H=8 * blocks + 20, masked=True)
    compare_with_fused(problem, jnp.bfloat16)
    of = macros(on_host)
    assert of["BLOCKS"] == blocks
    assert (of["IN_REGISTERS"] == of["PADDED"] // 8) == (registers == 72)


@pytest.mark.parametrize("blocks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_order_of_threads_between_two_barriers_does_not_matter(blocks, on_host, monkeypatch):
    """Where a barrier lacks, a thread reads what another has not written yet, or has written too early."""
    monkeypatch.setattr(cuda_plan, "CLUSTERS", (blocks,))
    if blocks == 2:  # the cluster of the test above, which need not be compiled once more
        monkeypatch.setattr(cuda_plan, "OTHER_REGISTERS", 240)
    run(make_problem("lstm", T=3, B=9, D=5, H=36, masked=True), "cuda", dtype=jnp.bfloat16)
    assert names(on_host) == KERNELS
    for call in on_host:
        expected = launched(*call, IN_TURNS)
        for order in (FIRST_AHEAD, LAST_AHEAD, SHUFFLED):
            for found, same in zip(launched(*call, order), expected, strict=True):
                np.testing.assert_array_equal(found, same)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype", "B", "H"),
    [
        ("lstm", jnp.bfloat16, 9, 128),
        ("lstm", jnp.float32, 9, 128),
        ("gru", jnp.float32, 8, 256),
        ("lstm", jnp.bfloat16, 8, 512),
    ],
)
def test_the_largest_layers_equal_fused(name, dtype, B, H, on_host):
    compare_with_fused(make_problem(name, T=2, B=B, D=5, H=H, masked=True), dtype, 5e-6)
    parts = 1 if dtype == jnp.bfloat16 else 3
    assert macros(on_host)["BLOCKS"] == cuda_plan.plan_of(H, parts).blocks


# The first is the layer whose gradients are compared above: it need not be compiled once more.
@pytest.mark.parametrize(
    "name", ["biased gru", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gru", "hard lstm"))]
)
def test_a_number_that_is_none_shows_in_its_own_row_alone(name, on_host):
    problem = make_problem(name, masked=True)
    problem.values["hidden"][1, 0] = np.nan
    outputs, _ = run(problem, "cuda")
    assert np.isnan(outputs["hiddens"][:, 1]).all() and np.isfinite(outputs["hiddens"][:, [0, 2]]).all()


@pytest.mark.slow
def test_vmap_equals_a_loop(on_host):
    problem = make_problem("lstm", T=3, B=3, D=4, H=5)
    draw = np.random.default_rng(0)
    projected = jnp.asarray(draw.normal(size=(2, 3, 3, 20)), jnp.float32)
    kernel, state, hidden = (
        jnp.asarray(problem.values[name], jnp.float32) for name in ("recurrent_kernel", "cell", "hidden")
    )
    layer = cuda_layer.Layer(4, False, "float32", 3)

    def loss(projected):
        hiddens, last, _ = cuda_layer.run(layer, numerics(), projected, kernel, None, state, hidden, None)
        return jnp.sum(hiddens**2) + jnp.sum(last**3)

    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    together = jax.jit(jax.vmap(value_and_gradient))(projected)
    assert macros(on_host)["BATCH"] == 6  # one batch of all rows
    for number, one in enumerate(projected):
        for found, expected in zip(together, value_and_gradient(one), strict=True):
            np.testing.assert_allclose(found[number], expected, rtol=1e-5, atol=1e-5)
