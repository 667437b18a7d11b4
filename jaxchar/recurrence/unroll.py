"""A recurrent cell over time: one function, and the choice between the implementations behind it.

Letters: T time steps, B batch, D input features, H hidden size, G gate columns
(4H for the LSTM, 3H for the GRU, H for the tanh RNN). Time comes first here: ``[T, B, ...]``.

No code outside of this folder may depend on which implementation runs:

``scan``    the reference: Flax's cell, differentiated by JAX, see :mod:`jaxchar.recurrence.scan`.
``fused``   the fast implementation in JAX, with its own gradient, see :mod:`jaxchar.recurrence.fused`.
``native``  the same equations in C++ for processors, see :mod:`jaxchar.recurrence.native_layer`.
``cuda``    the same in CUDA for NVIDIA cards, if asked for, see :mod:`jaxchar.recurrence.cuda_layer`.

The recurrent dropout mask is one for all time steps of a sequence (Gal and Ghahramani 2016, "A Theoretically
Grounded Application of Dropout in Recurrent Neural Networks").
"""

import functools
import logging
from typing import Literal

import jax

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import cuda_plan, native, nvrtc
from jaxchar.recurrence.cells import (
    NO_DROPOUT,
    Carry,
    Cell,
    DropoutMasks,
    Equations,
    HiddenCarry,
    LSTMCarry,
    equations_of,
    hard_sigmoid,
    has_equations,
    initial_carry,
    kernels_of,
    native_name_of,
)
from jaxchar.recurrence.cuda_layer import layer_of, unroll_cuda
from jaxchar.recurrence.fused import lookup, project, unroll_fused
from jaxchar.recurrence.native_layer import unroll_native
from jaxchar.recurrence.scan import unroll_scan
from jaxchar.tracing import numerics

# What other folders import from here.
__all__ = [
    "Carry",
    "Cell",
    "DropoutMasks",
    "Equations",
    "HiddenCarry",
    "Implementation",
    "LSTMCarry",
    "could_be_native",
    "equations_of",
    "hard_sigmoid",
    "initial_carry",
    "kernels_of",
    "lookup",
    "native_name",
    "project",
    "check_implementation",
    "unroll",
]

Implementation = Literal["auto", "native", "fused", "scan", "cuda"]

# If the host sets no handlers, Python prints a warning's text alone on standard error.
_log = logging.getLogger("jaxchar")


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
        implementation: "native", "cuda", "fused" or "scan": the same function and gradient, to rounding;
            "auto" takes the fastest that the cell and the machine allow, but never "cuda", which no card has
            run yet.

    Returns:
        The state after the last step, and the hidden states [T, B, H] float32.

    Raises:
        JaxcharError: an implementation is asked for that is not available for this cell.
    """
    if implementation == "cuda" and numerics().on_processor:
        _tell_of_processor()
        implementation = "auto"
    if implementation == "auto" and not has_equations(cell):
        implementation = "scan"
    if implementation == "auto":
        implementation = "native" if native_name(cell) else "fused"
        if implementation == "fused" and could_be_native(cell) and numerics().on_processor:
            native.tell_why_slower()
    check_implementation(cell, implementation)
    if implementation == "cuda":
        if _fits_a_card(cell, len(inputs)):
            return unroll_cuda(cell, project(cell, inputs, masks.inputs), carry, masks.recurrent)
        implementation = "fused"
    run = {"native": unroll_native, "fused": unroll_fused, "scan": unroll_scan}[implementation]
    return run(cell, inputs, carry, masks)


def check_implementation(cell: Cell, implementation: Implementation) -> None:
    """Raise a JaxcharError if an implementation is asked for that is not available for this cell."""
    if implementation == "fused" and not has_equations(cell):
        raise JaxcharError(
            "implementation is fused, which needs a cell with equations, and this cell has a step alone; "
            "give --implementation=auto"
        )
    if implementation == "native" and not native_name(cell):
        raise JaxcharError(
            f"implementation is native, which is for an lstm or gru in float32 on a processor{_why_not(cell)}"
        )
    if implementation == "cuda":
        _check_cuda(cell)


# ---- the C++ library -----------------------------------------------------------------------------


def native_name(cell: Cell) -> str | None:
    """Return a cell's name in the C++ library; None if the library is missing or does not compute it.

    It computes on processors alone, and so it does for programs that are traced for one.
    """
    name = native_name_of(cell)
    return name if name is not None and numerics().on_processor and native.is_available() else None


def could_be_native(cell: Cell) -> bool:
    """Return whether the C++ library, if there is one, computes a cell."""
    return native_name_of(cell) is not None


def _why_not(cell: Cell) -> str:
    if not numerics().on_processor:
        return f", but this is a {numerics().platform}; give --implementation=auto"
    if could_be_native(cell):
        return f", but {native.why_not()}, or give --implementation=auto"
    return "; give --implementation=auto"


# ---- CUDA ----------------------------------------------------------------------------------------


def _check_cuda(cell: Cell) -> None:
    """Raise a JaxcharError where the CUDA kernels cannot be had, or do not compute a cell."""
    what = "implementation is cuda, which is for an lstm or gru on an NVIDIA card"
    if numerics().platform != "gpu" or not cuda_plan.capability_here():
        here = numerics().platform if numerics().platform != "gpu" else "card of another maker"
        raise JaxcharError(f"{what}, but this is a {here}; give --implementation=auto")
    if layer_of(cell) is None:
        raise JaxcharError(f"{what}; give --implementation=auto")
    if nvrtc.why_not():
        raise JaxcharError(f"implementation is cuda, but {nvrtc.why_not()}, or give --implementation=auto")


def _fits_a_card(cell: Cell, time_steps: int) -> bool:
    """Return whether the CUDA kernels can take a layer; say once why not. A single step has no loop."""
    layer = layer_of(cell)
    assert layer is not None, "check_implementation has been asked"
    reason = cuda_plan.why_not(cell.hidden_features, layer.parts)
    if reason:
        _tell_once("fused", reason)
    return time_steps > 1 and not reason


def _tell_of_processor() -> None:
    """Say that a model for a card runs on a processor. Beside a card, a few texts do so anyway."""
    if jax.default_backend() != "gpu":
        _tell_once("auto", "this is a processor")


@functools.cache
def _tell_once(implementation: str, reason: str) -> None:
    _log.warning("The recurrence runs as with implementation %s, not in CUDA: %s.", implementation, reason)
