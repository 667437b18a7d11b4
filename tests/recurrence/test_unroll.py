"""The implementations of a cell over time: the same at odd sizes, from ids, and in another type."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from recurrent_problem import (
    assert_close,
    clipped_line,
    make_problem,
    needs_compiler,
    reference_forward,
    reference_gradients,
    run,
)

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import cuda_plan, fused, nvrtc
from jaxchar.recurrence import unroll as unroll_module
from jaxchar.recurrence.unroll import check_implementation, initial_carry, unroll
from jaxchar.tracing import traced_for


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
    ("T", "B", "D", "H"),
    [
        (1, 1, 65, 5),
        pytest.param(9, 7, 65, 5, marks=pytest.mark.slow),
        pytest.param(30, 1, 3, 16, marks=pytest.mark.slow),
        (3, 8, 4, 32),
        (2, 101, 3, 37),
    ],
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


@pytest.mark.parametrize(
    ("name", "implementation"),
    [
        ("lstm", "fused"),
        ("gru", "scan"),
        pytest.param("lstm", "scan", marks=pytest.mark.slow),
        pytest.param("gru", "fused", marks=pytest.mark.slow),
    ],
)
def test_bfloat16_is_close_to_float32_and_keeps_float32_carries_and_gradients(name, implementation):
    problem = make_problem(name, masked=True)
    outputs, gradients = run(problem, implementation, dtype=jnp.bfloat16)
    assert {array.dtype for array in (outputs | gradients).values()} == {jnp.dtype("float32")}
    expected = reference_forward(problem, problem.values)
    assert_close(outputs, expected, 0.05)
    assert_close(gradients, reference_gradients(problem), 0.05)
    assert np.abs(outputs["hiddens"] - expected["hiddens"]).max() > 1e-4, "it is float32 after all"


# ---- CUDA ----------------------------------------------------------------------------------------


@pytest.fixture
def small():
    """An LSTM, ids and a state, and what the implementation in JAX makes of them."""
    cell = nnx.OptimizedLSTMCell(5, 4, rngs=nnx.Rngs(0))
    inputs, carry = jnp.array([[0, 1], [4, 2], [3, 3]]), initial_carry(cell, 2)
    unroll_module._tell_once.cache_clear()
    return cell, inputs, carry, unroll(cell, inputs, carry, implementation="fused")[1]


def test_cuda_on_a_processor_is_refused_for_training_and_read_with_a_word(small, caplog):
    cell, inputs, carry, expected = small
    with pytest.raises(
        JaxcharError, match="cuda, which is for an lstm or gru on an NVIDIA card, but this is"
    ):
        check_implementation(cell, "cuda")
    for _ in range(2):
        found = unroll(cell, inputs, carry, implementation="cuda")[1]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [line for line in caplog.messages if "not in CUDA: this is a processor" in line] == caplog.messages
    assert len(caplog.messages) == 1  # once a process


def test_a_few_texts_beside_a_card_are_written_on_the_processor_without_a_word(small, caplog, monkeypatch):
    cell, inputs, carry, expected = small
    monkeypatch.setattr(unroll_module.jax, "default_backend", lambda: "gpu")
    with traced_for("cpu"):
        found = unroll(cell, inputs, carry, implementation="cuda")[1]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not caplog.messages


def test_auto_never_takes_cuda(small, monkeypatch):
    cell, inputs, carry, expected = small
    monkeypatch.setattr(nvrtc, "why_not", lambda: "")
    monkeypatch.setattr(unroll_module, "unroll_cuda", None)
    with traced_for("gpu"):
        np.testing.assert_allclose(unroll(cell, inputs, carry)[1], expected, atol=1e-6)


def test_what_the_kernels_cannot_take_is_computed_as_fused_does_with_a_word(small, caplog, monkeypatch):
    cell, inputs, carry, expected = small
    monkeypatch.setattr(nvrtc, "why_not", lambda: "")
    monkeypatch.setattr(unroll_module, "unroll_cuda", None)
    with traced_for("gpu"):  # a single step has no loop, and needs no word
        one = unroll(cell, inputs[:1], carry, implementation="cuda")[1]
        np.testing.assert_allclose(one, expected[:1], atol=1e-6)
        assert not caplog.messages
        monkeypatch.setattr(cuda_plan, "plan_of", lambda *given: None)
        for _ in range(2):
            found = unroll(cell, inputs, carry, implementation="cuda")[1]
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(caplog.messages) == 1 and "implementation fused, not in CUDA: a layer of 4" in caplog.text


@pytest.mark.parametrize(
    "cell",
    [nnx.SimpleCell(5, 4, rngs=nnx.Rngs(0)), nnx.GRUCell(5, 4, gate_fn=jnp.tanh, rngs=nnx.Rngs(0))],
    ids=["a plain cell", "another gate"],
)
def test_a_cell_that_the_kernels_do_not_compute_is_refused(cell):
    with traced_for("gpu"), pytest.raises(JaxcharError, match="for an lstm or gru on an NVIDIA card; give"):
        check_implementation(cell, "cuda")


def test_without_nvrtc_cuda_is_refused_with_what_to_install(small, monkeypatch):
    monkeypatch.setattr(nvrtc, "why_not", lambda: f"it lacks; {nvrtc.REMEDY}")
    with traced_for("gpu"), pytest.raises(JaxcharError, match="pip install nvidia-cuda-nvrtc-cu12"):
        check_implementation(small[0], "cuda")
