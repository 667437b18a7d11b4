"""A recurrent layer in C++, see ``cpp/layer.h``: forward, and its gradient.

Letters as in :mod:`jaxchar.recurrence.unroll`: T time steps, B batch, D input features, H hidden size,
G gate columns; V symbols.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.recurrence.cells import (
    CELL_KINDS,
    Carry,
    Cell,
    DropoutMasks,
    HiddenCarry,
    LSTMCarry,
    kernels_of,
    masked_inputs,
    native_name_of,
)
from jaxchar.recurrence.native_batch import by_batch


class Inputs(NamedTuple):
    """What a layer reads: ids, which mean their one-hot rows, or rows of features. What is absent is None."""

    ids: jax.Array | None = None  # [T, B] int32, clamped to the rows of the kernel
    scale: jax.Array | None = None  # [T, B] float32, of the one-hot rows; never trained; None: 1
    rows: jax.Array | None = None  # [T, B, D] float32

    @classmethod
    def of(cls, inputs: jax.Array, scale: jax.Array | None = None) -> "Inputs":
        """Take [T, B, D] rows, or [T, B] ids and their scale."""
        if inputs.ndim == 3:
            return cls(rows=inputs)
        return cls(inputs.astype(jnp.int32), scale)


class Weights(NamedTuple):
    """The weights of a layer, one bias for both products."""

    inputs: jax.Array  # [D or V, G]
    bias: jax.Array  # [G]
    recurrent: jax.Array  # [H, G]


def unroll_native(
    cell: Cell, inputs: jax.Array, carry: Carry, masks: DropoutMasks
) -> tuple[Carry, jax.Array]:
    """Run a cell over a sequence; arguments and results as of :func:`jaxchar.recurrence.unroll.unroll`."""
    name = native_name_of(cell)
    assert name is not None, "callers ask native_name first"
    read = Inputs.of(*masked_inputs(inputs, masks.inputs))
    kernel, recurrent, bias, _ = kernels_of(cell)
    weights = Weights(kernel, bias, recurrent)
    state = carry.cell if isinstance(carry, LSTMCarry) else None
    hiddens, state, hidden = run(name, read, weights, state, carry.hidden, masks.recurrent)
    return (HiddenCarry(hidden) if state is None else LSTMCarry(state, hidden)), hiddens


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def run(
    cell: str,
    inputs: Inputs,
    weights: Weights,
    state: jax.Array | None,
    hidden: jax.Array,
    mask: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """Run a layer over time.

    Args:
        cell: as the library calls it, see :data:`jaxchar.recurrence.cells.CELL_KINDS`.
        inputs: what it reads.
        weights: its weights.
        state: [B, H], the memory before the first step; None for a GRU, which has none.
        hidden: [B, H], the output before the first step.
        mask: [B, H], on what the recurrent product sees, never trained; None for no dropout.

    Returns:
        The hidden states [T, B, H], the last memory (None for a GRU) and the last output.
    """
    return _run_forward(cell, inputs, weights, state, hidden, mask)[0]


def _run_forward(cell, inputs, weights, state, hidden, mask):
    hiddens, states, saved = _forward(cell, inputs, weights, state, hidden, mask)
    residuals = inputs, weights, state, hidden, mask, hiddens, states, saved
    return (hiddens, None if state is None else states[-1], hiddens[-1]), residuals


def _run_backward(cell, residuals, cotangents):
    inputs, weights, state, hidden, mask, hiddens, states, saved = residuals
    first, following = (hidden, hiddens) if state is None else (state, states)
    kernel = weights.inputs[:0] if inputs.rows is None else weights.inputs  # ids have no gradient
    d_hiddens, d_state, d_hidden = cotangents
    d_projected, d_recurrent, d_rows, d_state, d_hidden = _backward(
        cell, kernel, weights.recurrent, first, following, saved, d_hiddens, d_state, d_hidden, mask
    )
    seen = (hidden, hiddens) if mask is None else (hidden * mask, hiddens * mask)
    d_weights = _weight_gradients(len(weights.inputs), inputs, seen, d_projected, d_recurrent)
    d_inputs = Inputs(
        None if inputs.ids is None else np.zeros(inputs.ids.shape, jax.dtypes.float0),
        None if inputs.scale is None else jnp.zeros_like(inputs.scale),
        None if inputs.rows is None else d_rows,
    )
    d_state = None if state is None else d_state
    return d_inputs, Weights(*d_weights), d_state, d_hidden, None if mask is None else jnp.zeros_like(mask)


run.defvjp(_run_forward, _run_backward)


def keeps_memory(cell: str) -> bool:
    """Return whether a cell has a memory c; the gradients of its two products are then the same."""
    return cell in CELL_KINDS["lstm"].native_names.values()


# ---- calls of the library ------------------------------------------------------------------------


def _or_empty(array: jax.Array | None, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    """Return an array, or one of a shape without numbers. Absent inputs are zero-sized arrays."""
    return jnp.zeros(shape, dtype) if array is None else array


def _all_inputs(inputs: Inputs, T: int, B: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    return (
        _or_empty(inputs.ids, 0, B, dtype=jnp.int32),
        _or_empty(inputs.scale, 0, B),
        _or_empty(inputs.rows, T, B, 0),
    )


def _forward(cell, inputs, weights, state, hidden, mask):
    """Return hiddens [T, B, H], states [T, B, H or 0], and the activations [T, B, 4H] to differentiate by."""
    T, B = (inputs.rows if inputs.ids is None else inputs.ids).shape[:2]
    states = _or_empty(state, B, 0), hidden, _or_empty(mask, B, 0)
    rule = "i b, m b, t b d, v g, g, h g, b s, b h, b k -> t b h, t b s, t b a"
    return by_batch(_forward_here, rule, cell)(*_all_inputs(inputs, T, B), *weights, *states)


def _forward_here(cell, ids, scale, rows, input_kernel, bias, kernel, state, hidden, mask):
    (T, B, _), H = rows.shape, kernel.shape[0]
    results = _floats((T, B, H), (T, B, state.shape[1]), (T, B, 4 * H))
    call = jax.ffi.ffi_call("jaxchar_forward", results)
    return tuple(call(ids, scale, rows, input_kernel, bias, kernel, state, hidden, mask, cell=cell))


def _backward(cell, input_kernel, kernel, first, following, saved, d_hiddens, d_state, d_hidden, mask):
    """Return the gradients of both products, of the input rows, and of the first state and output."""
    B = len(d_hidden)
    rule = "d g, h g, b h, t b h, t b a, t b h, b s, b h, b k -> t b g, t b r, t b d, b s, b h"
    return by_batch(_backward_here, rule, cell)(
        input_kernel,
        kernel,
        first,
        following,
        saved,
        d_hiddens,
        _or_empty(d_state, B, 0),
        d_hidden,
        _or_empty(mask, B, 0),
    )


def _backward_here(cell, input_kernel, kernel, first, following, saved, d_hiddens, d_state, d_hidden, mask):
    (T, B, H), (D, G) = d_hiddens.shape, input_kernel.shape
    # Written in place: a state's gradient over that of the last state, the products' over the activations.
    in_place, r = ({6: 3, 7: 4, 4: 0}, 0) if keeps_memory(cell) else ({6: 3, 7: 4}, G)
    results = _floats((T, B, G), (T, B, r), (T, B, D), d_state.shape, (B, H))
    call = jax.ffi.ffi_call("jaxchar_backward", results, input_output_aliases=in_place)
    arguments = input_kernel, kernel, first, following, saved, d_hiddens, d_state, d_hidden, mask
    return tuple(call(*arguments, cell=cell))


def _weight_gradients(num_inputs, inputs, seen, d_projected, d_recurrent):
    """Return the gradients of the input kernel [D or V, G], the bias [G] and the recurrent kernel [H, G]."""
    rule = "i b, m b, t b d, b h, t b h, t b g, t b r -> v g, g, h g"
    arrays = _all_inputs(inputs, *d_projected.shape[:2])
    return by_batch(_weight_gradients_here, rule, num_inputs)(*arrays, *seen, d_projected, d_recurrent)


def _weight_gradients_here(num_inputs, ids, scale, rows, first, hiddens, d_projected, d_recurrent):
    H, G = hiddens.shape[-1], d_projected.shape[-1]
    call = jax.ffi.ffi_call("jaxchar_weight_gradients", _floats((num_inputs, G), (G,), (H, G)))
    return tuple(call(ids, scale, rows, first, hiddens, d_projected, d_recurrent))


def _floats(*shapes: tuple[int, ...]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
