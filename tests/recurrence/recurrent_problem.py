"""Cells over time as problems: all that goes in, and what the equations in float64 make of it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxchar.recurrence import native
from jaxchar.recurrence.cells import (
    DropoutMasks,
    HiddenCarry,
    LSTMCarry,
    gru_with_two_biases,
    hard_sigmoid,
)
from jaxchar.recurrence.unroll import unroll

CELLS = {
    "lstm": nnx.OptimizedLSTMCell,
    "hard lstm": partial(nnx.OptimizedLSTMCell, gate_fn=hard_sigmoid),
    "gru": nnx.GRUCell,
    "hard gru": partial(nnx.GRUCell, gate_fn=hard_sigmoid),
    "biased gru": gru_with_two_biases,
    "rnn": nnx.SimpleCell,
}
PARTS = {"lstm": ("cell", "hidden"), "gru": ("hidden",), "rnn": ("hidden",)}  # of a carry
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
needs_compiler = pytest.mark.skipif(not native.is_available(), reason="no C++ compiler")
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
    shapes |= {"recurrent_bias": (G,)} if name.startswith("biased") else {}
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
        q = q + values.get("recurrent_bias", 0)
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
    if "recurrent_bias" in problem.values:
        cell.dense_h.bias[...] = jnp.asarray(problem.values["recurrent_bias"], jnp.float32)
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
    if "recurrent_bias" in values:
        gradients["recurrent_bias"] = d_cell.dense_h.bias[...]
    return outputs, gradients | ({"inputs": d_inputs[0]} if d_inputs else {})


def assert_close(actual, expected, tolerance=2e-5):
    assert actual.keys() == expected.keys()
    for name in expected:
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(actual[name], expected[name], atol=tolerance * scale, err_msg=name)


def check_against_equations(implementation, name, masked):
    """Compare outputs and all gradients with the equations in float64 and their finite differences."""
    problem = make_problem(name, masked=masked)
    outputs, gradients = run(problem, implementation)
    assert_close(outputs, reference_forward(problem, problem.values))
    assert_close(gradients, reference_gradients(problem))
