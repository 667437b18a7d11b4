"""The cells over time: held to their equations in float64, to finite differences, and to one another."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxchar.recurrence import native
from jaxchar.recurrence import unroll as unroll_module
from jaxchar.recurrence.unroll import (
    DropoutMasks,
    HiddenCarry,
    LSTMCarry,
    hard_sigmoid,
    initial_carry,
    lookup,
    unroll,
)

CELLS = {
    "lstm": nnx.OptimizedLSTMCell,
    "hard lstm": partial(nnx.OptimizedLSTMCell, gate_fn=hard_sigmoid),
    "gru": nnx.GRUCell,
    "hard gru": partial(nnx.GRUCell, gate_fn=hard_sigmoid),
    "rnn": nnx.SimpleCell,
}
PARTS = {"lstm": ("cell", "hidden"), "gru": ("hidden",), "rnn": ("hidden",)}  # of a carry
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
needs_compiler = pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
NATIVE = pytest.param("native", marks=needs_compiler)
COMPILE_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Problem(NamedTuple):
    """A cell by name with everything that goes into it, and the loss's weights on what comes out."""

    kind: str
    values: dict[str, np.ndarray]  # inputs, input_kernel, recurrent_kernel, bias, and the carry's parts
    masks: dict[str, np.ndarray]  # inputs and recurrent, or none
    weights: dict[str, np.ndarray]  # hiddens, and the last carry's parts: the loss's cotangents


def make_problem(name, T=4, B=3, D=4, H=3, masked=False, seed=0):
    kind = name.split()[-1]
    G = GATES[kind] * H
    rng = np.random.default_rng(seed)
    shapes = {"inputs": (T, B, D), "input_kernel": (D, G), "recurrent_kernel": (H, G), "bias": (G,)}
    shapes |= dict.fromkeys(PARTS[kind], (B, H))
    values = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    values["input_kernel"] *= 2 / np.sqrt(D)  # wide enough that some hard gates are shut, some open
    values["recurrent_kernel"] *= 2 / np.sqrt(H)
    masks = {"inputs": (B, D), "recurrent": (B, H)} if masked else {}
    masks = {key: rng.integers(0, 2, shape) / 0.5 for key, shape in masks.items()}
    weights = {key: rng.normal(size=(B, H)) for key in PARTS[kind]}
    weights["hiddens"] = rng.normal(size=(T, B, H))
    return Problem(name, values, masks, weights)


# ---- the reference: the equations, step by step, in float64 --------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def clipped_line(x):
    return np.minimum(1, np.maximum(0, 0.2 * x + 0.5))


def reference_step(name, x, q, cell, hidden):
    """Return c', h' from x = W_x x_t + b and q = W_h h, block by block."""
    gate = clipped_line if name.startswith("hard") else sigmoid
    if name == "rnn":
        return None, np.tanh(x + q)
    if name.endswith("gru"):
        (x_r, x_z, x_n), (q_r, q_z, q_n) = np.split(x, 3, axis=1), np.split(q, 3, axis=1)
        r, z = gate(x_r + q_r), gate(x_z + q_z)
        n = np.tanh(x_n + r * q_n)
        return None, (1 - z) * n + z * hidden
    i, f, g, o = np.split(x + q, 4, axis=1)
    cell = gate(f) * cell + gate(i) * np.tanh(g)
    return cell, gate(o) * np.tanh(cell)


def reference_forward(problem, values):
    """Return the hidden states and the last carry's parts, by name."""
    cell, hidden = values.get("cell"), values["hidden"]
    hiddens = []
    for inputs in values["inputs"]:
        x = (inputs * problem.masks.get("inputs", 1)) @ values["input_kernel"] + values["bias"]
        q = (hidden * problem.masks.get("recurrent", 1)) @ values["recurrent_kernel"]
        cell, hidden = reference_step(problem.kind, x, q, cell, hidden)
        hiddens.append(hidden)
    outputs = {"hiddens": np.stack(hiddens), "hidden": hidden}
    return outputs if cell is None else outputs | {"cell": cell}


def reference_gradients(problem, step=1e-6):
    """Return the loss's gradient in every value, by central differences."""

    def loss():
        outputs = reference_forward(problem, values)
        return sum((problem.weights[name] * outputs[name]).sum() for name in outputs)

    values = {name: value.copy() for name, value in problem.values.items()}
    gradients = {name: np.zeros_like(value) for name, value in values.items()}
    for name, value in values.items():
        for place in np.ndindex(value.shape):
            before = value[place]
            value[place] = before + step
            above = loss()
            value[place] = before - step
            gradients[name][place] = (above - loss()) / (2 * step)
            value[place] = before
    return gradients


# ---- what is tested ------------------------------------------------------------------------------


def make_cell(problem, dtype=jnp.float32):
    D, H = problem.values["inputs"].shape[-1], problem.values["hidden"].shape[-1]
    zeros = nnx.initializers.zeros_init()  # quick to compile; every parameter is set below
    options = {"kernel_init": zeros, "recurrent_kernel_init": zeros, "rngs": nnx.Rngs(0)}
    cell = CELLS[problem.kind](D, H, dtype=dtype, **options)
    cell.dense_i.kernel[...] = jnp.asarray(problem.values["input_kernel"], jnp.float32)
    cell.dense_h.kernel[...] = jnp.asarray(problem.values["recurrent_kernel"], jnp.float32)
    biased = cell.dense_h if cell.dense_i.bias is None else cell.dense_i
    biased.bias[...] = jnp.asarray(problem.values["bias"], jnp.float32)
    return cell


def run(problem, implementation, inputs=None, dtype=jnp.float32):
    """Return ``unroll``'s outputs and the loss's gradients, by the names that the reference has."""
    graphdef, params = nnx.split(make_cell(problem, dtype))
    values = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), problem.values)
    inputs = values["inputs"] if inputs is None else inputs
    carry_type = LSTMCarry if "cell" in values else HiddenCarry
    carry = carry_type(**{part: values[part] for part in carry_type._fields})
    masks = DropoutMasks(**{name: jnp.asarray(m, jnp.float32) for name, m in problem.masks.items()})
    weights = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), problem.weights)

    def loss(params, carry, inputs):
        cell = nnx.merge(graphdef, params)
        last, hiddens = unroll(cell, inputs, carry, masks=masks, implementation=implementation)
        outputs = last._asdict() | {"hiddens": hiddens}
        return sum(jnp.vdot(weights[name], outputs[name]) for name in outputs), outputs

    differentiable = (0, 1, 2) if jnp.issubdtype(inputs.dtype, jnp.floating) else (0, 1)
    gradient = jax.jit(jax.grad(loss, differentiable, has_aux=True), compiler_options=COMPILE_QUICKLY)
    (d_params, d_carry, *d_inputs), outputs = gradient(params, carry, inputs)
    d_cell = nnx.merge(graphdef, d_params)
    bias = d_cell.dense_h.bias if d_cell.dense_i.bias is None else d_cell.dense_i.bias
    gradients = d_carry._asdict() | {
        "input_kernel": d_cell.dense_i.kernel[...],
        "recurrent_kernel": d_cell.dense_h.kernel[...],
        "bias": bias[...],
    }
    return outputs, gradients | ({"inputs": d_inputs[0]} if d_inputs else {})


def assert_close(actual, expected, tolerance=2e-5):
    assert actual.keys() == expected.keys()
    for name in expected:
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(actual[name], expected[name], atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize(
    ("name", "masked"), [*((name, True) for name in CELLS), ("lstm", False), ("gru", False), ("rnn", False)]
)
@pytest.mark.parametrize("implementation", [NATIVE, "fused", "scan"])
def test_outputs_and_all_gradients_equal_the_float64_equations(implementation, name, masked):
    if (implementation, name) == ("native", "rnn"):
        pytest.skip("native has no plain tanh cell")
    problem = make_problem(name, masked=masked)
    outputs, gradients = run(problem, implementation)
    assert_close(outputs, reference_forward(problem, problem.values))
    assert_close(gradients, reference_gradients(problem))


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
    monkeypatch.setattr(unroll_module, "ONE_HOT_PRODUCT_SYMBOLS", one_hot_product_symbols)
    problem, ids, expected, expected_gradients = ids_and_rows
    outputs, gradients = run(problem, implementation, ids)
    assert_close(outputs, expected)
    assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("one_hot_product_symbols", [SYMBOLS, SYMBOLS - 1])
def test_the_gradient_of_a_lookup_sums_the_rows_of_each_symbol(one_hot_product_symbols, monkeypatch):
    monkeypatch.setattr(unroll_module, "ONE_HOT_PRODUCT_SYMBOLS", one_hot_product_symbols)
    rng = np.random.default_rng(2)
    ids, d_rows = rng.integers(0, SYMBOLS, (6, 5)), rng.normal(size=(6, 5, 3)).astype(np.float32)
    expected = np.zeros((SYMBOLS, 3))
    np.add.at(expected, ids, d_rows)
    rows, backward = jax.vjp(lambda table: lookup(table, ids), jnp.arange(SYMBOLS * 3.0).reshape(-1, 3))
    np.testing.assert_array_equal(rows[..., 0], ids * 3)
    np.testing.assert_allclose(backward(d_rows)[0], expected, atol=1e-5)


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


@pytest.mark.parametrize(("name", "carry_type"), [("lstm", LSTMCarry), ("gru", HiddenCarry)])
def test_a_text_starts_with_zeros(name, carry_type):
    carry = initial_carry(make_cell(make_problem(name)), 5)
    assert isinstance(carry, carry_type)
    assert all(part.shape == (5, 3) and not part.any() for part in carry)


def test_hard_sigmoid_is_keras_1s_clipped_line():
    x = np.array([-9, -2.5, -1, 0, 1, 2.5, 9], np.float32)
    np.testing.assert_allclose(hard_sigmoid(x), [0, 0, 0.3, 0.5, 0.7, 1, 1], atol=1e-7)
