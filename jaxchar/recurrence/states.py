"""A recurrent cell over time, with all that it computes on the way: its state and its gates at every step.

Letters as in :mod:`jaxchar.recurrence.unroll`.
"""

from typing import Any

import jax
from jax import lax

from jaxchar.recurrence.cells import Carry, Cell, equations_of, has_equations, kernels_of
from jaxchar.recurrence.fused import matmul, project


def unroll_states(cell: Cell, inputs: jax.Array, carry: Carry) -> tuple[Carry, dict[str, jax.Array]]:
    """Run a cell over a sequence; to look at, so without dropout.

    Args:
        cell: whose parameters are read.
        inputs: [T, B, D] features, or [T, B] integer ids.
        carry: the state before the first step.

    Returns:
        The state after every step, [T, B, H] each part, and the gates of every step by their names, [T, B, H]
        each: i, f, g, o of an LSTM; r, z, n of a GRU; none of a tanh RNN, nor of a cell of one's own without
        equations.
    """
    if not has_equations(cell):
        return _states_of_own(cell, inputs, carry), {}
    equations, dtype = equations_of(cell), cell.dtype or "float32"
    weights = kernels_of(cell)
    kernel, bias = weights.recurrent.astype(dtype), weights.recurrent_bias

    def step(carry: Carry, projected: jax.Array) -> tuple[Carry, tuple[Carry, dict[str, jax.Array]]]:
        recurrent = matmul(carry.hidden.astype(dtype), kernel)
        recurrent = recurrent if bias is None else recurrent + bias
        carry, saved = equations.forward(projected, recurrent, carry)
        return carry, (carry, equations.gates(saved))

    return lax.scan(step, carry, project(cell, inputs))[1]


def _states_of_own(cell: Any, inputs: jax.Array, carry: Carry) -> Carry:
    def step(carry: Carry, inputs_t: jax.Array) -> tuple[Carry, Carry]:
        carry = cell.step(carry, inputs_t)
        return carry, carry

    features = jax.nn.one_hot(inputs, cell.in_features) if inputs.ndim == 2 else inputs
    return lax.scan(step, carry, features)[1]
