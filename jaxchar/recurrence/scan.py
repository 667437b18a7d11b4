"""A cell over time, the reference: ``lax.scan`` over the Flax cell, differentiated by JAX.

Letters as in :mod:`jaxchar.recurrence.unroll`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxchar.recurrence.cells import Carry, Cell, DropoutMasks, LSTMCarry, OwnLayer


def unroll_scan(cell: Cell, inputs: jax.Array, carry: Carry, masks: DropoutMasks) -> tuple[Carry, jax.Array]:
    """Run a cell over a sequence; arguments and results as of :func:`jaxchar.recurrence.unroll.unroll`."""
    if inputs.ndim == 2:
        inputs = jax.nn.one_hot(inputs, cell.in_features)
    if masks.inputs is not None:
        inputs = inputs * masks.inputs
    step = _step_of(cell, masks.recurrent)

    def keep_hidden(carry: Carry, inputs_t: jax.Array) -> tuple[Carry, jax.Array]:
        carry = step(carry, inputs_t)
        return carry, carry.hidden

    return lax.scan(keep_hidden, carry, inputs)


def _step_of(cell: Cell, mask: jax.Array | None) -> Callable[[Carry, jax.Array], Carry]:
    """Return a function of the state and the [B, D] inputs of a time step: the state after it."""
    if isinstance(cell, OwnLayer):
        return cell.step
    cell = _with_recurrent_mask(cell, mask)

    def step(carry: Carry, inputs_t: jax.Array) -> Carry:
        # Flax's (c, h) has the order of LSTMCarry; its other cells carry h alone.
        flax_carry: Any = tuple(carry) if isinstance(carry, LSTMCarry) else carry.hidden
        flax_carry, _ = cell(flax_carry, inputs_t)
        parts = [part.astype(jnp.float32) for part in jax.tree.leaves(flax_carry)]
        return type(carry)(*parts)

    return step


def _with_recurrent_mask(cell: Cell, mask: jax.Array | None) -> Cell:
    """Return the cell with ``mask`` on what its recurrent product sees, and on nothing else."""
    if mask is None:
        return cell
    masked: Any = nnx.clone(cell)
    recurrent_product = masked.dense_h
    masked.dense_h = lambda hidden: recurrent_product(hidden * mask)
    return masked
