"""A cell over time, the fast implementation in JAX, with a gradient written by hand.

With ``x W_x + b`` for all time steps formed before the loop, a step is

    z_t = p_t + (h_{t-1} * m) W_h          the only matrix product inside the loop (a GRU may add b_h to it)
    h_t, c_t = equations(z_t, c_{t-1})      element by element

where ``m`` is the recurrent dropout mask. The reverse loop carries dh and dc alone,

    dz_t = equations'(dh_t, dc_t),          dh_{t-1} = (dz_t W_h^T) * m

while the kernel's gradient is one large product after it, sum_t (h_{t-1} * m)^T dz_t. The forward pass saves
the gate *activations*, from which every derivative follows without a second exponential:
s' = s (1 - s) and tanh' = 1 - tanh^2.

Letters as in :mod:`jaxchar.recurrence.unroll`.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxchar.recurrence.cells import (
    Carry,
    Cell,
    DropoutMasks,
    Equations,
    equations_of,
    kernels_of,
    masked_inputs,
)
from jaxchar.tracing import Numerics, numerics, traced_for

# Up to this number of symbols, the gradient of a table lookup is faster as a product with one-hot rows than
# as a scatter of T*B rows, on the machines measured (see experiments/README.md).
ONE_HOT_PRODUCT_SYMBOLS = 512

# Time steps that are compiled as one on accelerators, where every turn of a loop costs launches. On
# processors unrolling is slower (see experiments/SPEED.md).
ACCELERATOR_UNROLL = 8
_unroll = jax.make_user_context(None)  # another one has JAX trace anew

# If H is at least this multiple of B, the recurrent product is faster with both factors transposed, on the
# CPUs measured (see experiments/README.md).
TRANSPOSED_PRODUCT_RATIO = 4


def unroll_fused(cell: Cell, inputs: jax.Array, carry: Carry, masks: DropoutMasks) -> tuple[Carry, jax.Array]:
    """Run a cell over a sequence; arguments and results as of :func:`jaxchar.recurrence.unroll.unroll`."""
    projected = project(cell, inputs, masks.inputs)
    _, kernel, _, recurrent_bias = kernels_of(cell)
    kernel = kernel.astype(cell.dtype or jnp.float32)
    return _recur(equations_of(cell), numerics(), projected, kernel, recurrent_bias, carry, masks.recurrent)


@contextlib.contextmanager
def unrolled_by(time_steps: int | None) -> Iterator[None]:
    """Compile so many time steps as one, in programs traced until the block ends; to measure what is best.

    Args:
        time_steps: None: one on a processor, and :data:`ACCELERATOR_UNROLL` elsewhere.
    """
    with _unroll(time_steps):
        yield


def project(cell: Cell, inputs: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Return the input product of every step, with the bias: [T, B, G] float32.

    Args:
        cell: a Flax cell.
        inputs: [T, B, D] features, or [T, B] integer ids.
        mask: dropout mask of the inputs, [B, D].
    """
    (kernel, _, bias, _), dtype = kernels_of(cell), cell.dtype or jnp.float32
    inputs, scale = masked_inputs(inputs, mask)
    if inputs.ndim == 3:
        return _sequence_product(numerics(), inputs.astype(dtype), kernel.astype(dtype)) + bias
    kernel = kernel.astype(dtype).astype(jnp.float32)  # rounded as for a product in dtype
    if scale is None:
        return lookup(kernel + bias, inputs)
    return lookup(kernel, inputs) * scale[..., None] + bias


# ---- products with all time steps ----------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sequence_product(how: Numerics, rows: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return ``rows @ kernel``, [T, B, G] float32, with the kernel's gradient of the recurrence."""
    return matmul(rows, kernel, how)


def _sequence_product_forward(how: Numerics, rows: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return matmul(rows, kernel, how), (rows, kernel)


def _sequence_product_backward(
    how: Numerics, residuals: tuple, d_product: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rows, kernel = residuals
    d_product = d_product.astype(kernel.dtype)
    d_rows = matmul(d_product, kernel.T, how).astype(rows.dtype)
    return d_rows, _kernel_gradient(how, rows, d_product)


_sequence_product.defvjp(_sequence_product_forward, _sequence_product_backward)


def _kernel_gradient(how: Numerics, rows: jax.Array, d_product: jax.Array) -> jax.Array:
    """Return the gradient of a kernel that [T, B, ...] rows are multiplied by, summed over time and batch.

    It is one contraction. The one that JAX derives from the product runs at half the speed on a CPU.
    """
    sums: Any = {"preferred_element_type": jnp.float32, "precision": how.of_products}
    d_kernel = jnp.einsum("tbd,tbg->dg", rows, d_product, **sums)
    return d_kernel.astype(d_product.dtype)


def matmul(a: jax.Array, b: jax.Array, how: Numerics | None = None) -> jax.Array:
    """Multiply in the dtype of the operands; sum and return in float32."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32, precision=(how or numerics()).of_products)


def lookup(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Return the rows ``table[ids]``, [..., D], which equal the product of one-hot rows and the table.

    Ids outside the table, which no vocabulary gives, are clipped to its first or last row.
    """
    return _lookup(numerics(), table, ids)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lookup(how: Numerics, table: jax.Array, ids: jax.Array) -> jax.Array:
    return table.at[ids].get(mode="clip")


def _lookup_forward(
    how: Numerics, table: jax.Array, ids: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, int]]:
    return _lookup(how, table, ids), (ids, table.shape[0])


def _lookup_backward(
    how: Numerics, residuals: tuple[jax.Array, int], d_rows: jax.Array
) -> tuple[jax.Array, None]:
    ids, num_symbols = residuals
    if num_symbols <= ONE_HOT_PRODUCT_SYMBOLS:
        # No axes are merged: if the batch is split between devices, each uses its own part.
        rows = jax.nn.one_hot(ids, num_symbols)
        return jnp.einsum("...v,...d->vd", rows, d_rows, precision=(how or numerics()).of_products), None
    return jnp.zeros((num_symbols, d_rows.shape[-1])).at[ids].add(d_rows), None


_lookup.defvjp(_lookup_forward, _lookup_backward)


# ---- the loop ------------------------------------------------------------------------------------


def _recurrent_product(
    how: Numerics, rows: jax.Array, kernel: jax.Array, kernel_transposed: jax.Array
) -> jax.Array:
    """Return ``rows @ kernel``, [B, ...] float32, the product inside the loop over time.

    On a CPU, XLA's product rearranges its right factor at every call. If that is the larger one, the kernel,
    the transposed product is up to three times as fast.
    """
    batch_size = rows.shape[0]
    kernel_is_larger = batch_size * TRANSPOSED_PRODUCT_RATIO <= min(kernel.shape) and batch_size % 8 == 0
    if not how.on_processor or not kernel_is_larger:
        return matmul(rows, kernel, how)
    # Without the barriers XLA would simplify this to rows @ kernel.
    columns = lax.optimization_barrier(rows.T)
    return lax.optimization_barrier(matmul(kernel_transposed, columns, how)).T


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recur(
    equations: Equations,
    how: Numerics,
    projected: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    carry: Carry,
    mask: jax.Array | None,
) -> tuple[Carry, jax.Array]:
    """Loop over [T, B, G] projections with the recurrent kernel [H, G], bias [G]; return as unroll does."""
    carry, (hiddens, _) = _recur_saving(equations, how, projected, kernel, bias, carry, mask)
    return carry, hiddens


def _masked(hidden: jax.Array, mask: jax.Array | None, dtype: Any) -> jax.Array:
    return (hidden if mask is None else hidden * mask).astype(dtype)


def _scan(how: Numerics, step: Any, carry: Any, at_t: Any, *, reverse: bool = False) -> Any:
    unroll = _unroll.value or (1 if how.on_processor else ACCELERATOR_UNROLL)
    with traced_for(*how):
        return lax.scan(step, carry, at_t, reverse=reverse, unroll=unroll)


def _recur_saving(equations, how, projected, kernel, bias, carry, mask):
    kernel_transposed = lax.optimization_barrier(kernel.T) if how.on_processor else kernel.T

    def step(carry, projected_t):
        hidden = _masked(carry.hidden, mask, kernel.dtype)
        recurrent = _recurrent_product(how, hidden, kernel, kernel_transposed)
        recurrent = recurrent if bias is None else recurrent + bias
        carry, saved = equations.forward(projected_t, recurrent, carry)
        return carry, (carry.hidden, saved)

    return _scan(how, step, carry, projected)


def _recur_forward(equations, how, projected, kernel, bias, carry, mask):
    last, (hiddens, saved) = _recur_saving(equations, how, projected, kernel, bias, carry, mask)
    return (last, hiddens), (kernel, bias, carry.hidden, mask, hiddens, saved)


def _recur_backward(equations, how, residuals, cotangents):
    kernel, bias, first_hidden, mask, hiddens, saved = residuals
    d_carry, d_hiddens = cotangents

    def step(d_carry, at_t):
        d_hidden_t, saved_t = at_t
        d_carry = d_carry._replace(hidden=d_carry.hidden + d_hidden_t)
        d_projected, d_carry = equations.backward(d_carry, saved_t)
        d_recurrent = equations.recurrent_gradient(d_projected, saved_t)
        d_hidden = _recurrent_product(how, d_recurrent.astype(kernel.dtype), kernel.T, kernel)
        d_hidden = _masked(d_hidden, mask, jnp.float32)
        return d_carry._replace(hidden=d_carry.hidden + d_hidden), d_projected

    d_carry, d_projected = _scan(how, step, d_carry, (d_hiddens, saved), reverse=True)
    before = jnp.concatenate([first_hidden[None], hiddens[:-1]])  # h_{t-1} beside d_projected_t
    d_recurrent = equations.recurrent_gradient(d_projected, saved)
    d_bias = None if bias is None else d_recurrent.sum((0, 1))
    before = _masked(before, mask, kernel.dtype)
    d_kernel = _kernel_gradient(how, before, d_recurrent.astype(kernel.dtype))
    d_mask = None if mask is None else jnp.zeros_like(mask)  # a mask is sampled, never trained
    return d_projected, d_kernel, d_bias, d_carry, d_mask


_recur.defvjp(_recur_forward, _recur_backward)
