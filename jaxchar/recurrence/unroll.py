"""A recurrent cell over time: the one place in jaxchar where time is looped over.

Letters: T time steps, B batch, D input features, H hidden size, G gate columns
(4H for the LSTM, 3H for the GRU, H for the tanh RNN). Time comes first here: ``[T, B, ...]``.

Three implementations stand behind :func:`unroll`, and nothing outside may know which one runs:

``scan``    the reference. ``lax.scan`` over the Flax cell, differentiated by JAX.
``fused``   the fast path. With ``x W_x + b`` for all time steps formed before the loop, a step is

               z_t = p_t + (h_{t-1} * m) W_h          the only matrix product inside the loop
               h_t, c_t = equations(z_t, c_{t-1})      element by element

           and its gradient is written by hand: the reverse loop carries dh and dc alone,

               dz_t = equations'(dh_t, dc_t),          dh_{t-1} = (dz_t W_h^T) * m

           while the kernel's gradient is one large product after it, sum_t (h_{t-1} * m)^T dz_t.
           The forward pass saves the gate *activations*, from which every derivative follows
           without a second exponential: s' = s (1 - s) and tanh' = 1 - tanh^2.
``native``  the same equations as ``fused`` for processors, in C++, see ``native_layer``.

``m`` is the recurrent dropout mask, one for all time steps of a sequence (Gal and Ghahramani 2016,
"A Theoretically Grounded Application of Dropout in Recurrent Neural Networks").
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import native, native_layer

Implementation = Literal["auto", "native", "fused", "scan"]

# Up to this many symbols, the gradient of a table lookup runs faster on the machines measured as a
# product with one-hot rows than as a scatter of T*B rows (see experiments/README.md).
ONE_HOT_PRODUCT_SYMBOLS = 512

# From this many times as many hidden units as rows on, the recurrent product runs faster the other way
# round on the CPUs measured (see experiments/README.md).
TRANSPOSED_PRODUCT_RATIO = 4


class LSTMCarry(NamedTuple):
    """The state that an LSTM hands from one time step to the next."""

    cell: jax.Array  # [B, H] float32, the memory c
    hidden: jax.Array  # [B, H] float32, the output h


class HiddenCarry(NamedTuple):
    """The state that a GRU or a tanh RNN hands from one time step to the next."""

    hidden: jax.Array  # [B, H] float32


Carry = LSTMCarry | HiddenCarry
Cell = nnx.OptimizedLSTMCell | nnx.GRUCell | nnx.SimpleCell


class DropoutMasks(NamedTuple):
    """Inverted-dropout masks of one sequence (0 or 1/keep), the same at every time step."""

    inputs: jax.Array | None = None  # [B, D]
    recurrent: jax.Array | None = None  # [B, H]


NO_DROPOUT = DropoutMasks()


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """Return ``clip(0.2 x + 0.5, 0, 1)``, the gate function of Keras 1 (and of Theano before it)."""
    return jnp.clip(0.2 * x + 0.5, 0.0, 1.0)


def initial_carry(cell: Cell, batch_size: int) -> Carry:
    """Return the zero state, [batch_size, H] each part, that a text starts with."""
    zeros = jnp.zeros((batch_size, cell.hidden_features), jnp.float32)
    return LSTMCarry(zeros, zeros) if isinstance(cell, nnx.OptimizedLSTMCell) else HiddenCarry(zeros)


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
    run = {"native": _unroll_native, "fused": _unroll_fused, "scan": _unroll_scan}[implementation]
    return run(cell, inputs, carry, masks)


def refuse_impossible(cell: Cell, implementation: Implementation) -> None:
    """Raise a JaxcharError where "native" is asked for and cannot be had."""
    if implementation == "native" and not native_name(cell):
        raise JaxcharError(
            f"implementation is native, which is for an lstm or gru in float32 on a processor{_why_not(cell)}"
        )


# ---- the reference -------------------------------------------------------------------------------


def _unroll_scan(cell: Cell, inputs: jax.Array, carry: Carry, masks: DropoutMasks) -> tuple[Carry, jax.Array]:
    if inputs.ndim == 2:
        inputs = jax.nn.one_hot(inputs, cell.in_features)
    if masks.inputs is not None:
        inputs = inputs * masks.inputs
    cell = _with_recurrent_mask(cell, masks.recurrent)

    def step(carry: Carry, inputs_t: jax.Array) -> tuple[Carry, jax.Array]:
        # Flax's (c, h) has the order of LSTMCarry; its other cells carry h alone.
        flax_carry: Any = tuple(carry) if isinstance(carry, LSTMCarry) else carry.hidden
        flax_carry, _ = cell(flax_carry, inputs_t)
        parts = [part.astype(jnp.float32) for part in jax.tree.leaves(flax_carry)]
        carry = type(carry)(*parts)
        return carry, carry.hidden

    return lax.scan(step, carry, inputs)


def _with_recurrent_mask(cell: Cell, mask: jax.Array | None) -> Cell:
    """Return the cell with ``mask`` on what its recurrent product sees, and on nothing else."""
    if mask is None:
        return cell
    recurrent_product = cell.dense_h
    masked: Any = nnx.clone(cell)
    masked.dense_h = lambda hidden: recurrent_product(hidden * mask)
    return masked


# ---- the fast path on a processor ----------------------------------------------------------------


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
    read = native_layer.Inputs.of(*_masked_inputs(inputs, masks.inputs))
    weights = native_layer.Weights(cell.dense_i.kernel[...], bias_of(cell), cell.dense_h.kernel[...])
    nothing = jnp.zeros((inputs.shape[1], 0))
    mask = nothing if masks.recurrent is None else masks.recurrent
    state = carry.cell if isinstance(carry, LSTMCarry) else nothing
    hiddens, state, hidden = native_layer.run(native_name(cell), read, weights, state, carry.hidden, mask)
    return (LSTMCarry(state, hidden) if isinstance(carry, LSTMCarry) else HiddenCarry(hidden)), hiddens


# ---- the fast path -------------------------------------------------------------------------------


def _unroll_fused(
    cell: Cell, inputs: jax.Array, carry: Carry, masks: DropoutMasks
) -> tuple[Carry, jax.Array]:
    projected = project(cell, inputs, masks.inputs)
    kernel = cell.dense_h.kernel[...].astype(cell.dtype or jnp.float32)
    return _recur(equations_of(cell), projected, kernel, carry, masks.recurrent)


def project(cell: Cell, inputs: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Return the input half of every step's product, bias and all: [T, B, G] float32.

    Args:
        cell: a Flax cell.
        inputs: [T, B, D] features, or [T, B] integer ids.
        mask: of the inputs, [B, D].
    """
    kernel, bias, dtype = cell.dense_i.kernel[...], bias_of(cell), cell.dtype or jnp.float32
    inputs, scale = _masked_inputs(inputs, mask)
    if inputs.ndim == 3:
        return _sequence_product(inputs.astype(dtype), kernel.astype(dtype)) + bias
    kernel = kernel.astype(dtype).astype(jnp.float32)  # what a product in dtype would read
    if scale is None:
        return lookup(kernel + bias, inputs)
    return lookup(kernel, inputs) * scale[..., None] + bias


def _masked_inputs(inputs: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """Return inputs after dropout, [T, B, D], or ids and what their one-hot rows are scaled with, [T, B]."""
    if mask is None:
        return inputs, None
    if inputs.ndim == 3:
        return inputs * mask, None
    return inputs, jnp.take_along_axis(mask, inputs.T, axis=1).T


def bias_of(cell: Cell) -> jax.Array:
    """Return the one bias of a cell, [G], whichever of its two products Flax gave it to."""
    bias: Any = cell.dense_i.bias if cell.dense_h.bias is None else cell.dense_h.bias
    return bias[...]


@jax.custom_vjp
def _sequence_product(rows: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return ``rows @ kernel``, [T, B, G] float32, its gradient formed as that of the recurrence is."""
    return _matmul(rows, kernel)


def _sequence_product_forward(rows: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return _matmul(rows, kernel), (rows, kernel)


def _sequence_product_backward(residuals: tuple, d_product: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows, kernel = residuals
    d_product = d_product.astype(kernel.dtype)
    d_rows = _matmul(d_product, kernel.T).astype(rows.dtype)
    return d_rows, _kernel_gradient(rows, d_product)


_sequence_product.defvjp(_sequence_product_forward, _sequence_product_backward)


def _kernel_gradient(rows: jax.Array, d_product: jax.Array) -> jax.Array:
    """Return the gradient of a kernel that [T, B, ...] rows were multiplied with, summed over all of them.

    As one contraction over time and batch: what JAX derives from a product is another one on a CPU, with
    half the speed.
    """
    d_kernel = jnp.einsum("tbd,tbg->dg", rows, d_product, preferred_element_type=jnp.float32)
    return d_kernel.astype(d_product.dtype)


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiply in the dtype of the operands, sum and return in float32."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


@jax.custom_vjp
def lookup(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Return the rows ``table[ids]``, [..., D], which is what one-hot rows times the table mean.

    Ids outside the table, which a vocabulary never gives, take its first or last row.
    """
    return table.at[ids].get(mode="clip")


def _lookup_forward(table: jax.Array, ids: jax.Array) -> tuple[jax.Array, tuple[jax.Array, int]]:
    return lookup(table, ids), (ids, table.shape[0])


def _lookup_backward(residuals: tuple[jax.Array, int], d_rows: jax.Array) -> tuple[jax.Array, None]:
    ids, num_symbols = residuals
    if num_symbols <= ONE_HOT_PRODUCT_SYMBOLS:
        # No axes are merged: where the batch is split between devices, each keeps to its own part.
        return jnp.einsum("...v,...d->vd", jax.nn.one_hot(ids, num_symbols), d_rows), None
    return jnp.zeros((num_symbols, d_rows.shape[-1])).at[ids].add(d_rows), None


lookup.defvjp(_lookup_forward, _lookup_backward)


class Equations(Protocol):
    """A cell's element-by-element half, with its derivative.

    ``saved`` is whatever the backward half needs of a step: activations, not pre-activations.
    """

    def forward(self, projected: jax.Array, recurrent: jax.Array, carry: Any) -> tuple[Any, Any]:
        """From the two [B, G] products and the old carry, return the new carry and ``saved``."""

    def backward(self, d_carry: Any, saved: Any) -> tuple[jax.Array, Any]:
        """Return d_projected [B, G] and the carry's gradient, less the part through W_h."""

    def recurrent_gradient(self, d_projected: jax.Array, saved: Any) -> jax.Array:
        """Return the gradient of the recurrent product, [..., G], from that of the projection."""


def _recurrent_product(rows: jax.Array, kernel: jax.Array, kernel_transposed: jax.Array) -> jax.Array:
    """Return ``rows @ kernel``, [B, ...] float32, the product that every time step waits for.

    XLA's product on a CPU rearranges its right factor at every call. Where that is the larger one, the
    kernel, it takes up to three times as long as the same product the other way round.
    """
    batch_size = rows.shape[0]
    kernel_is_larger = batch_size * TRANSPOSED_PRODUCT_RATIO <= min(kernel.shape) and batch_size % 8 == 0
    if jax.default_backend() != "cpu" or not kernel_is_larger:
        return _matmul(rows, kernel)
    # The barriers keep XLA from seeing that all this is rows @ kernel.
    columns = lax.optimization_barrier(rows.T)
    return lax.optimization_barrier(_matmul(kernel_transposed, columns)).T


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(
    equations: Equations,
    projected: jax.Array,
    kernel: jax.Array,
    carry: Carry,
    mask: jax.Array | None,
) -> tuple[Carry, jax.Array]:
    """Loop over [T, B, G] projections with the recurrent kernel [H, G]; return as unroll does."""
    carry, (hiddens, _) = _recur_saving(equations, projected, kernel, carry, mask)
    return carry, hiddens


def _masked(hidden: jax.Array, mask: jax.Array | None, dtype: Any) -> jax.Array:
    return (hidden if mask is None else hidden * mask).astype(dtype)


def _recur_saving(equations, projected, kernel, carry, mask):
    kernel_transposed = lax.optimization_barrier(kernel.T)

    def step(carry, projected_t):
        hidden = _masked(carry.hidden, mask, kernel.dtype)
        recurrent = _recurrent_product(hidden, kernel, kernel_transposed)
        carry, saved = equations.forward(projected_t, recurrent, carry)
        return carry, (carry.hidden, saved)

    return lax.scan(step, carry, projected)


def _recur_forward(equations, projected, kernel, carry, mask):
    last, (hiddens, saved) = _recur_saving(equations, projected, kernel, carry, mask)
    return (last, hiddens), (kernel, carry.hidden, mask, hiddens, saved)


def _recur_backward(equations, residuals, cotangents):
    kernel, first_hidden, mask, hiddens, saved = residuals
    d_carry, d_hiddens = cotangents

    def step(d_carry, at_t):
        d_hidden_t, saved_t = at_t
        d_carry = d_carry._replace(hidden=d_carry.hidden + d_hidden_t)
        d_projected, d_carry = equations.backward(d_carry, saved_t)
        d_recurrent = equations.recurrent_gradient(d_projected, saved_t)
        d_hidden = _recurrent_product(d_recurrent.astype(kernel.dtype), kernel.T, kernel)
        d_hidden = _masked(d_hidden, mask, jnp.float32)
        return d_carry._replace(hidden=d_carry.hidden + d_hidden), d_projected

    d_carry, d_projected = lax.scan(step, d_carry, (d_hiddens, saved), reverse=True)
    before = jnp.concatenate([first_hidden[None], hiddens[:-1]])  # h_{t-1} beside d_projected_t
    d_recurrent = equations.recurrent_gradient(d_projected, saved).astype(kernel.dtype)
    before = _masked(before, mask, kernel.dtype)
    d_kernel = _kernel_gradient(before, d_recurrent)
    d_mask = None if mask is None else jnp.zeros_like(mask)  # a mask is drawn, never trained
    return d_projected, d_kernel, d_carry, d_mask


_recur.defvjp(_recur_forward, _recur_backward)


# ---- the equations of the three cells ------------------------------------------------------------


def _gate_derivative(gate_fn: Callable) -> Callable[[jax.Array], jax.Array]:
    """Return the gate function's derivative as a function of its value."""
    if gate_fn is hard_sigmoid:
        return lambda value: jnp.where((value > 0) & (value < 1), 0.2, 0.0)
    return lambda value: value * (1 - value)


class LSTMEquations(NamedTuple):
    """i, f, o = gate(z), g = tanh(z); c' = f c + i g; h' = o tanh(c') (Hochreiter, Gers)."""

    gate_fn: Callable[[jax.Array], jax.Array]

    def _activate(self, z: jax.Array) -> jax.Array:
        """Apply all four activations in one pass over the [B, 4H] block."""
        is_g = jnp.arange(z.shape[-1]) // (z.shape[-1] // 4) == 2
        if self.gate_fn is hard_sigmoid:
            return jnp.where(is_g, jnp.tanh(z), hard_sigmoid(z))
        # sigmoid(z) = (1 + tanh(z / 2)) / 2: one tanh serves the gates and g alike
        half = jnp.where(is_g, 1.0, 0.5)
        return jnp.tanh(z * half) * half + (1 - half)

    def forward(self, projected, recurrent, carry):
        # The barrier keeps XLA from computing the activations twice, once for c' and once for h'.
        activations = lax.optimization_barrier(self._activate(projected + recurrent))
        i, f, g, o = jnp.split(activations, 4, axis=-1)
        cell = f * carry.cell + i * g
        tanh_cell = jnp.tanh(cell)
        return LSTMCarry(cell, o * tanh_cell), (activations, carry.cell, tanh_cell)

    def backward(self, d_carry, saved):
        """Let dh flow into c' through tanh; give each gate its share times its activation's slope."""
        activations, cell_before, tanh_cell = saved
        i, f, g, o = jnp.split(activations, 4, axis=-1)
        gate_derivative = _gate_derivative(self.gate_fn)
        d_cell = d_carry.cell + d_carry.hidden * o * (1 - tanh_cell * tanh_cell)
        d_z = jnp.concatenate(
            [
                d_cell * g * gate_derivative(i),
                d_cell * cell_before * gate_derivative(f),
                d_cell * i * (1 - g * g),
                d_carry.hidden * tanh_cell * gate_derivative(o),
            ],
            axis=-1,
        )
        return d_z, LSTMCarry(d_cell * f, jnp.zeros_like(d_cell))

    def recurrent_gradient(self, d_projected, saved):
        return d_projected


class GRUEquations(NamedTuple):
    """r, z = gate(.); n = tanh(p_n + r q_n); h' = (1 - z) n + z h, q = h W_h (Cho; Flax, cuDNN)."""

    gate_fn: Callable[[jax.Array], jax.Array]

    def forward(self, projected, recurrent, carry):
        size = carry.hidden.shape[-1]
        gates = self.gate_fn(projected[..., : 2 * size] + recurrent[..., : 2 * size])
        r, z = jnp.split(lax.optimization_barrier(gates), 2, axis=-1)
        recurrent_n = recurrent[..., 2 * size :]
        n = jnp.tanh(projected[..., 2 * size :] + r * recurrent_n)
        return HiddenCarry((1 - z) * n + z * carry.hidden), (r, z, n, recurrent_n, carry.hidden)

    def backward(self, d_carry, saved):
        r, z, n, recurrent_n, hidden_before = saved
        gate_derivative = _gate_derivative(self.gate_fn)
        d_n = d_carry.hidden * (1 - z) * (1 - n * n)
        d_z = d_carry.hidden * (hidden_before - n) * gate_derivative(z)
        d_r = d_n * recurrent_n * gate_derivative(r)
        return jnp.concatenate([d_r, d_z, d_n], axis=-1), HiddenCarry(d_carry.hidden * z)

    def recurrent_gradient(self, d_projected, saved):
        r = saved[0]
        d_r, d_z, d_n = jnp.split(d_projected, 3, axis=-1)
        return jnp.concatenate([d_r, d_z, d_n * r], axis=-1)


class TanhEquations(NamedTuple):
    """h' = tanh(p + q) (Elman 1990)."""

    def forward(self, projected, recurrent, carry):
        hidden = jnp.tanh(projected + recurrent)
        return HiddenCarry(hidden), hidden

    def backward(self, d_carry, saved):
        return d_carry.hidden * (1 - saved * saved), HiddenCarry(jnp.zeros_like(saved))

    def recurrent_gradient(self, d_projected, saved):
        return d_projected


def equations_of(cell: Cell) -> Equations:
    """Return the element-by-element half of a cell."""
    if isinstance(cell, nnx.OptimizedLSTMCell):
        return LSTMEquations(cell.gate_fn)
    if isinstance(cell, nnx.GRUCell):
        return GRUEquations(cell.gate_fn)
    return TanhEquations()
