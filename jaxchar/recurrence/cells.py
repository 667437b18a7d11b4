"""The recurrent cells: states, dropout masks, equations and their derivatives, and the table of kinds.

Letters: T time steps, B batch, D input features, H hidden size, G gate columns (4H for the LSTM, 3H for the
GRU, H for the tanh RNN).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxchar.errors import JaxcharError, quoted
from jaxchar.tracing import numerics


class LSTMCarry(NamedTuple):
    """The state that an LSTM hands from one time step to the next."""

    cell: jax.Array  # [B, H] float32, the memory c
    hidden: jax.Array  # [B, H] float32, the output h


class HiddenCarry(NamedTuple):
    """The state that a GRU or a tanh RNN hands from one time step to the next."""

    hidden: jax.Array  # [B, H] float32


Carry = LSTMCarry | HiddenCarry


class OwnLayer(nnx.Module):
    """A layer of a cell of one's own, see :class:`jaxchar.own_cells.OwnCell`."""

    def __init__(
        self, own: Any, features: int, hidden_size: int, *, dtype: Any = None, rngs: nnx.Rngs
    ) -> None:
        """Draw the first weights.

        Args:
            own: the cell with its name, a :class:`jaxchar.own_cells.RegisteredCell`.
            features: D.
            hidden_size: H.
            dtype: that the cell computes in; None: float32.
            rngs: where the weights are drawn from.
        """
        self.own = own
        self.in_features, self.hidden_features, self.dtype = features, hidden_size, dtype
        drawn = own.cell.init(rngs.params(), features, hidden_size)
        if not isinstance(drawn, dict) or not all(hasattr(value, "shape") for value in drawn.values()):
            raise JaxcharError(
                f"init of the cell {own.name!r} must return a dictionary of arrays, but it returned "
                f"{quoted(drawn)}"
            )
        weights = {key: nnx.Param(jnp.asarray(value, jnp.float32)) for key, value in drawn.items()}
        self.weights = nnx.Dict(weights)

    def step(self, carry: Any, inputs: jax.Array) -> Any:
        """Return the state after one more time step, float32, from [B, D] inputs."""
        weights = {name: weight[...] for name, weight in self.weights.items()}
        return own_step(self.own, weights, carry, inputs, self.dtype)

    def initial_carry(self, batch_size: int) -> Any:
        """Return the zero state, [batch_size, H] each part."""
        kind = getattr(self.own.cell, "carry", HiddenCarry)
        if "hidden" not in getattr(kind, "_fields", ()):
            raise JaxcharError(
                f"carry of the cell {self.own.name!r} must be a NamedTuple with a field hidden, but it is "
                f"{quoted(kind)}"
            )
        zeros = jnp.zeros((batch_size, self.hidden_features), jnp.float32)
        return kind(*(zeros for _ in kind._fields))


def own_step(
    own: Any, weights: dict[str, jax.Array], carry: Any, inputs: jax.Array, dtype: Any = None
) -> Any:
    """Return the state after one more time step of a cell of one's own.

    Args:
        own: the cell with its name, a :class:`jaxchar.own_cells.RegisteredCell`.
        weights: as its ``init`` names them.
        carry: the state before it, [B, H] float32 each part, and so is what is returned.
        inputs: [B, D].
        dtype: that the cell computes in; None: float32.
    """
    given = jax.tree.map(lambda part: part.astype(dtype or jnp.float32), (weights, carry, inputs))
    after = own.cell.step(*given)
    if _described(after) != _described(carry):
        raise JaxcharError(
            f"step of the cell {own.name!r} must return a state like the one that it was given, "
            f"{_described(carry)}, but it returned {_described(after)}"
        )
    return jax.tree.map(lambda part: part.astype(jnp.float32), after)


def _described(carry: Any) -> str:
    shapes = [str(list(jnp.shape(part))) for part in jax.tree.leaves(carry)]
    return f"{type(carry).__name__} of {', '.join(shapes)}"


Cell = nnx.OptimizedLSTMCell | nnx.GRUCell | nnx.SimpleCell | OwnLayer


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """Return ``clip(0.2 x + 0.5, 0, 1)``, the gate function of Keras 1 (and of Theano before it)."""
    return jnp.clip(0.2 * x + 0.5, 0.0, 1.0)


GATE_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": hard_sigmoid,
}


class CellKind(NamedTuple):
    """A kind of cell, and its names in the C++ library (``call_for`` in cpp/native.cc)."""

    flax_type: type
    gate_blocks: int  # blocks of H columns in a kernel: G = gate_blocks * H
    native_names: dict[Callable, str]  # by gate function; other gate functions run in JAX


# By the names in ModelConfig.cell; GATE_FUNCTIONS by those in ModelConfig.gate.
CELL_KINDS = {
    "lstm": CellKind(nnx.OptimizedLSTMCell, 4, {jax.nn.sigmoid: "lstm", hard_sigmoid: "hard_lstm"}),
    "gru": CellKind(nnx.GRUCell, 3, {jax.nn.sigmoid: "gru", hard_sigmoid: "hard_gru"}),
    "rnn": CellKind(nnx.SimpleCell, 1, {}),
}
GATE_BLOCKS = {name: kind.gate_blocks for name, kind in CELL_KINDS.items()}


def native_name_of(cell: Cell) -> str | None:
    """Return a cell's name in the C++ library; None for a cell that the library does not compute."""
    if cell.dtype not in (None, jnp.float32):
        return None
    if recurrent_bias_of(cell) is not None:
        return None
    gate_fn: Any = getattr(cell, "gate_fn", None)
    kinds = [kind for kind in CELL_KINDS.values() if isinstance(cell, kind.flax_type)]
    return kinds[0].native_names.get(gate_fn) if kinds else None


class DropoutMasks(NamedTuple):
    """Inverted-dropout masks of one sequence (0 or 1/keep), the same at every time step."""

    inputs: jax.Array | None = None  # [B, D]; None: no dropout
    recurrent: jax.Array | None = None  # [B, H]; likewise


NO_DROPOUT = DropoutMasks()


def initial_carry(cell: Cell, batch_size: int) -> Carry:
    """Return the zero state, [batch_size, H] each part, that a text starts with."""
    if isinstance(cell, OwnLayer):
        return cell.initial_carry(batch_size)
    zeros = jnp.zeros((batch_size, cell.hidden_features), jnp.float32)
    return LSTMCarry(zeros, zeros) if isinstance(cell, nnx.OptimizedLSTMCell) else HiddenCarry(zeros)


class Kernels(NamedTuple):
    """The weights of a layer whose cell has equations."""

    inputs: jax.Array  # [D, G]
    recurrent: jax.Array  # [H, G]
    bias: jax.Array  # [G]
    recurrent_bias: jax.Array | None  # [G], added to the recurrent product, where a GRU has two


def kernels_of(cell: Cell) -> Kernels:
    """Return the weights of a layer whose cell has equations, see :func:`has_equations`."""
    if isinstance(cell, OwnLayer):
        inputs, recurrent, bias = (
            cell.weights[name] for name in ("input_kernel", "recurrent_kernel", "bias")
        )
        return Kernels(inputs[...], recurrent[...], bias[...], None)
    # Flax keeps one bias with one or the other of the two products.
    only: Any = cell.dense_h.bias if cell.dense_i.bias is None else cell.dense_i.bias
    return Kernels(cell.dense_i.kernel[...], cell.dense_h.kernel[...], only[...], recurrent_bias_of(cell))


def gru_with_two_biases(features: int, hidden_size: int, *, rngs: nnx.Rngs, **options: Any) -> nnx.GRUCell:
    """Return Flax's GRU with a bias, zero at first, in its recurrent product as well.

    Args:
        features: D.
        hidden_size: H.
        rngs: where the weights are drawn from.
        options: as of ``nnx.GRUCell``.
    """
    cell = nnx.GRUCell(features, hidden_size, rngs=rngs, **options)
    kernel_init, dtype = options["recurrent_kernel_init"], options["dtype"]
    cell.dense_h = nnx.Linear(hidden_size, 3 * hidden_size, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
    return cell


def recurrent_bias_of(cell: Cell) -> jax.Array | None:
    """Return the bias that is added to the recurrent product, [G], where a cell has two; else None."""
    if isinstance(cell, OwnLayer) or cell.dense_i.bias is None or cell.dense_h.bias is None:
        return None
    bias: Any = cell.dense_h.bias
    return bias[...]


def masked_inputs(inputs: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """Return inputs after dropout, [T, B, D], or ids and the scale of their one-hot rows, [T, B]."""
    if mask is None:
        return inputs, None
    if inputs.ndim == 3:
        return inputs * mask, None
    return inputs, jnp.take_along_axis(mask, inputs.T, axis=1).T


# ---- equations -----------------------------------------------------------------------------------


class Equations(Protocol):
    """The element-by-element part of a cell, with its derivative.

    ``saved`` is what ``backward`` needs of a step: activations, not pre-activations.
    """

    def forward(self, projected: jax.Array, recurrent: jax.Array, carry: Any) -> tuple[Any, Any]:
        """Return the new carry and ``saved`` from the two [B, G] products and the old carry."""

    def backward(self, d_carry: Any, saved: Any) -> tuple[jax.Array, Any]:
        """Return d_projected [B, G] and the carry's gradient without the part through W_h."""

    def recurrent_gradient(self, d_projected: jax.Array, saved: Any) -> jax.Array:
        """Return the gradient of the recurrent product, [..., G], from that of the projection."""

    def gates(self, saved: Any) -> dict[str, jax.Array]:
        """Return the gates of a step by their names, [..., H] each, from what ``forward`` saved."""


def _computed_once(activations: jax.Array) -> jax.Array:
    """Keep XLA from computing activations twice on a processor, once for c' and once for h'.

    On an accelerator it would be a kernel more in every time step.
    """
    return lax.optimization_barrier(activations) if numerics().on_processor else activations


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
        # sigmoid(z) = (1 + tanh(z / 2)) / 2: one tanh computes the gates and g
        half = jnp.where(is_g, 1.0, 0.5)
        return jnp.tanh(z * half) * half + (1 - half)

    def forward(self, projected, recurrent, carry):
        activations = _computed_once(self._activate(projected + recurrent))
        i, f, g, o = jnp.split(activations, 4, axis=-1)
        cell = f * carry.cell + i * g
        tanh_cell = jnp.tanh(cell)
        return LSTMCarry(cell, o * tanh_cell), (activations, carry.cell, tanh_cell)

    def backward(self, d_carry, saved):
        """Add dh's part through tanh to dc'; each gate gets its factor times its activation's derivative."""
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

    def gates(self, saved):
        return dict(zip("ifgo", jnp.split(saved[0], 4, axis=-1), strict=True))


class GRUEquations(NamedTuple):
    """r, z = gate(.); n = tanh(p_n + r q_n); h' = (1 - z) n + z h, q = h W_h (+ b_h) (Cho; Flax, cuDNN)."""

    gate_fn: Callable[[jax.Array], jax.Array]

    def forward(self, projected, recurrent, carry):
        size = carry.hidden.shape[-1]
        gates = self.gate_fn(projected[..., : 2 * size] + recurrent[..., : 2 * size])
        r, z = jnp.split(_computed_once(gates), 2, axis=-1)
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

    def gates(self, saved):
        return dict(zip("rzn", saved, strict=False))


class TanhEquations(NamedTuple):
    """h' = tanh(p + q) (Elman 1990)."""

    def forward(self, projected, recurrent, carry):
        hidden = jnp.tanh(projected + recurrent)
        return HiddenCarry(hidden), hidden

    def backward(self, d_carry, saved):
        return d_carry.hidden * (1 - saved * saved), HiddenCarry(jnp.zeros_like(saved))

    def recurrent_gradient(self, d_projected, saved):
        return d_projected

    def gates(self, saved):
        return {}


def has_equations(cell: Cell) -> bool:
    """Return whether a cell is two matrix products and equations, as the built-in ones are."""
    return not isinstance(cell, OwnLayer) or hasattr(cell.own.cell, "equations")


def equations_of(cell: Cell) -> Equations:
    """Return the element-by-element part of a cell that has one, see :func:`has_equations`."""
    if isinstance(cell, OwnLayer):
        return cell.own.cell.equations
    if isinstance(cell, nnx.OptimizedLSTMCell):
        return LSTMEquations(cell.gate_fn)
    if isinstance(cell, nnx.GRUCell):
        return GRUEquations(cell.gate_fn)
    return TanhEquations()
