"""A recurrent cell over time: one function, and the choice between the implementations behind it.

Letters: T time steps, B batch, D input features, H hidden size, G gate columns
(4H for the LSTM, 3H for the GRU, H for the tanh RNN). Time comes first here: ``[T, B, ...]``.

No code outside of this folder may depend on which implementation runs:

``scan``    the reference: Flax's cell, differentiated by JAX, see :mod:`jaxchar.recurrence.scan`.
``fused``   the fast implementation in JAX, with its own gradient, see :mod:`jaxchar.recurrence.fused`.
``native``  the same equations in C++ for processors, see :mod:`jaxchar.recurrence.native_layer`.

The recurrent dropout mask is one for all time steps of a sequence (Gal and Ghahramani 2016, "A Theoretically
Grounded Application of Dropout in Recurrent Neural Networks").
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import native, native_layer
from jaxchar.recurrence.cells import (
    NO_DROPOUT,
    Carry,
    Cell,
    DropoutMasks,
    Equations,
    HiddenCarry,
    LSTMCarry,
    bias_of,
    equations_of,
    hard_sigmoid,
    initial_carry,
    masked_inputs,
)
from jaxchar.recurrence.fused import lookup, project, unroll_fused
from jaxchar.recurrence.scan import unroll_scan

# What other folders may import from here, beside what is defined here.
__all__ = [
    "Carry",
    "Cell",
    "DropoutMasks",
    "Equations",
    "HiddenCarry",
    "Implementation",
    "LSTMCarry",
    "bias_of",
    "could_be_native",
    "equations_of",
    "hard_sigmoid",
    "initial_carry",
    "lookup",
    "native_name",
    "project",
    "refuse_impossible",
    "unroll",
]

Implementation = Literal["auto", "native", "fused", "scan"]


def unroll(
    cell: Cell,
    inputs: jax.Array,
    carry: Carry,
    *,
    masks: DropoutMasks = NO_DROPOUT,
    implementation: Implementation = "auto",
) -> tuple[Carry, jax.Array]:
    """Run a cell over a sequence.

    Args:
        cell: a Flax cell; its parameters are read, nothing is written.
        inputs: [T, B, D] features, or [T, B] integer ids, which mean their one-hot rows (D = V).
        carry: the state before the first step.
        masks: dropout masks, each used at every time step.
        implementation: "native", "fused" or "scan": the same function and gradient, to rounding; "auto"
            takes the fastest that the cell and the machine allow.

    Returns:
        The state after the last step, and the hidden states [T, B, H] float32.

    Raises:
        JaxcharError: "native" is asked for where it cannot be had.
    """
    if implementation == "auto":
        implementation = "native" if native_name(cell) else "fused"
        if implementation == "fused" and could_be_native(cell):
            native.tell_why_slower()
    refuse_impossible(cell, implementation)
    run = {"native": _unroll_native, "fused": unroll_fused, "scan": unroll_scan}[implementation]
    return run(cell, inputs, carry, masks)


def refuse_impossible(cell: Cell, implementation: Implementation) -> None:
    """Raise a JaxcharError where "native" is asked for and cannot be had."""
    if implementation == "native" and not native_name(cell):
        raise JaxcharError(
            f"implementation is native, which is for an lstm or gru in float32 on a processor{_why_not(cell)}"
        )


# ---- the library in C++ --------------------------------------------------------------------------


NATIVE_GATES = {jax.nn.sigmoid: "", hard_sigmoid: "hard_"}


def native_name(cell: Cell) -> str | None:
    """Return what the library in C++ calls a cell; None where it cannot compute it, or cannot be had."""
    if not could_be_native(cell) or not native.is_available():
        return None
    gate_fn: Any = cell.gate_fn  # type: ignore[union-attr]
    return NATIVE_GATES[gate_fn] + ("lstm" if isinstance(cell, nnx.OptimizedLSTMCell) else "gru")


def could_be_native(cell: Cell) -> bool:
    """Whether the library in C++ can compute a cell, if only it can be had."""
    if isinstance(cell, nnx.SimpleCell) or cell.gate_fn not in NATIVE_GATES:
        return False
    return cell.dtype in (None, jnp.float32)


def _why_not(cell: Cell) -> str:
    if could_be_native(cell):
        return f", but {native.why_not()}, or give --implementation=auto"
    return "; give --implementation=auto"


def _unroll_native(
    cell: Any, inputs: jax.Array, carry: Carry, masks: DropoutMasks
) -> tuple[Carry, jax.Array]:
    read = native_layer.Inputs.of(*masked_inputs(inputs, masks.inputs))
    weights = native_layer.Weights(cell.dense_i.kernel[...], bias_of(cell), cell.dense_h.kernel[...])
    nothing = jnp.zeros((inputs.shape[1], 0))
    mask = nothing if masks.recurrent is None else masks.recurrent
    state = carry.cell if isinstance(carry, LSTMCarry) else nothing
    hiddens, state, hidden = native_layer.run(native_name(cell), read, weights, state, carry.hidden, mask)
    return (LSTMCarry(state, hidden) if isinstance(carry, LSTMCarry) else HiddenCarry(hidden)), hiddens
