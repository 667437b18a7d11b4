"""CharRNN: one-hot or embedded characters -> stacked recurrent cells -> logits.

Letters: B batch, T time steps, V vocabulary size, D features, H hidden size, L layers, G gate columns.
Arrays that enter or leave a model have the batch first, ``[B, T]``; inside, time comes first, see
:mod:`jaxchar.recurrence.unroll`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxchar.config import ModelConfig, part_of
from jaxchar.errors import JaxcharError
from jaxchar.own_cells import registered_cell
from jaxchar.randomness import cheap_bernoulli
from jaxchar.recurrence.cells import (
    GATE_BLOCKS,
    GATE_FUNCTIONS,
    Carry,
    Cell,
    DropoutMasks,
    OwnLayer,
    gru_with_two_biases,
    initial_carry,
)
from jaxchar.recurrence.fused import lookup
from jaxchar.recurrence.unroll import unroll
from jaxchar.tracing import traced_for

Initializer = Callable[..., jax.Array]

LSTM_FORGET_BLOCK = 1  # of i, f, g, o


class LayerParameters(NamedTuple):
    """One line of the model's summary."""

    name: str
    output_shape: str
    parameters: int


class CharRNN(nnx.Module):
    """A stack of recurrent layers that predicts the next character at every time step."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, rngs: nnx.Rngs) -> None:
        """Draw the first weights.

        Args:
            config: what to build.
            vocab_size: V.
            rngs: where the weights are drawn from.
        """
        self.config = part_of(config, ModelConfig)  # models that agree in it share what is compiled
        self.vocab_size = vocab_size
        self.embedding = nnx.data(None)
        features = vocab_size
        if config.embedding_size:
            features = config.embedding_size
            self.embedding = nnx.Embed(vocab_size, features, rngs=rngs)
        cells = []
        for hidden_size in config.layer_sizes:
            cells.append(_make_cell(config, features, hidden_size, rngs))
            features = hidden_size
        self.cells = nnx.List(cells)
        self.head: TiedHead | nnx.Linear
        options: dict[str, Any] = {
            "kernel_init": _kernel_init(config),
            "dtype": jnp.dtype(config.dtype),
            "preferred_element_type": jnp.float32,  # the softmax sees sums that were never rounded
            "rngs": rngs,
        }
        if config.tie_embeddings:
            self.head = TiedHead(features, config.embedding_size, vocab_size, **options)
        else:
            self.head = nnx.Linear(features, vocab_size, **options)

    def __call__(
        self, inputs: jax.Array, carry: tuple[Carry, ...], dropout_key: jax.Array | None = None
    ) -> tuple[jax.Array, tuple[Carry, ...]]:
        """Predict the character after every input character.

        Args:
            inputs: [B, T] ids, or [B, T, V] one-hot rows, which give the same numbers.
            carry: the state of every layer before the first step, see :meth:`initial_carry`.
            dropout_key: draws this call's dropout masks; None switches dropout off.

        Returns:
            Logits [B, T, V] float32, and the state after the last step.
        """
        with traced_for(precision=self.config.precision):
            hiddens, carry = self._hiddens(inputs, carry, dropout_key)
            return jnp.swapaxes(self._logits(hiddens), 0, 1), carry

    def last_logits(
        self, inputs: jax.Array, carry: tuple[Carry, ...], dropout_key: jax.Array | None = None
    ) -> tuple[jax.Array, tuple[Carry, ...]]:
        """Predict the character after the last input character only: logits [B, V]."""
        with traced_for(precision=self.config.precision):
            hiddens, carry = self._hiddens(inputs, carry, dropout_key)
            return self._logits(hiddens[-1]), carry

    def initial_carry(self, batch_size: int) -> tuple[Carry, ...]:
        """Return the zero state of every layer, [batch_size, H] each part."""
        return tuple(initial_carry(cell, batch_size) for cell in self.cells)

    def summary(self, *, return_sequences: bool = True) -> list[LayerParameters]:
        """Return name, output shape and parameter count of every layer, input to head.

        Args:
            return_sequences: whether the head predicts at every time step or at the last only.
        """
        rows = []
        if self.embedding is not None:
            rows.append(_row("embedding", self.embedding, f"(B, T, {self.config.embedding_size})"))
        for number, cell in enumerate(self.cells, start=1):
            name = f"{self.config.cell} {number}"
            rows.append(_row(name, cell, f"(B, T, {cell.hidden_features})"))
        steps = "T, " if return_sequences else ""
        rows.append(_row("dense", self.head, f"(B, {steps}{self.vocab_size})"))
        return rows

    def _hiddens(
        self, inputs: jax.Array, carry: tuple[Carry, ...], dropout_key: jax.Array | None
    ) -> tuple[jax.Array, tuple[Carry, ...]]:
        """Run all layers; return the last one's hidden states [T, B, H], dropped out, and the state."""
        batch_size = inputs.shape[0]
        features = self.embedded(jnp.swapaxes(inputs, 0, 1))
        carries = []
        for number, (cell, cell_carry) in enumerate(zip(self.cells, carry, strict=True)):
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
            cell_carry, features = unroll(
                self._with_dropped_weights(cell, key),
                features,
                cell_carry,
                masks=self._sequence_masks(cell, batch_size, key),
                implementation=self.config.implementation,
            )
            features = _dropout(features, self.config.dropout, key)
            carries.append(cell_carry)
        return features, tuple(carries)

    def embedded(self, inputs: jax.Array) -> jax.Array:
        """Return what the first layer reads: ids or one-hot rows as they are, or their vectors."""
        if self.embedding is None:
            return inputs
        table = self._input_vectors()
        if inputs.ndim == 2:
            return lookup(table, inputs)
        return jnp.matmul(inputs, table, precision="highest")  # one-hot rows select, they do not round

    def _input_vectors(self) -> jax.Array:
        """Return the table of the input vectors, [V, D]."""
        assert self.embedding is not None
        return self.embedding.embedding[...]

    def _with_dropped_weights(self, cell: Cell, key: jax.Array | None) -> Cell:
        """Return the cell with a mask on its recurrent kernel, the same for all rows and time steps.

        Merity, Keskar and Socher 2017, "Regularizing and Optimizing LSTM Language Models" (AWD-LSTM).
        """
        rate = self.config.weight_dropout
        if key is None or rate == 0:
            return cell
        dropped: Any = nnx.clone(cell)
        kernel = dropped.dense_h.kernel
        keep = cheap_bernoulli(jax.random.fold_in(key, 3), 1 - rate, kernel.shape)
        kernel[...] = jnp.where(keep, kernel[...] / (1 - rate), 0)
        return dropped

    def _sequence_masks(self, cell: Cell, batch_size: int, key: jax.Array | None) -> DropoutMasks:
        if key is None:
            return DropoutMasks()
        return DropoutMasks(
            _mask((batch_size, cell.in_features), self.config.input_dropout, jax.random.fold_in(key, 1)),
            _mask(
                (batch_size, cell.hidden_features),
                self.config.recurrent_dropout,
                jax.random.fold_in(key, 2),
            ),
        )

    def _logits(self, hiddens: jax.Array) -> jax.Array:
        if isinstance(self.head, TiedHead):
            return self.head(hiddens, self._input_vectors())
        return self.head(hiddens).astype(jnp.float32)

    def head_weights(self) -> tuple[jax.Array, jax.Array]:
        """Return the kernel [H, V] and the bias [V] that make logits of the last layer's hidden state."""
        if isinstance(self.head, TiedHead):
            return self.head.projection.kernel[...] @ self._input_vectors().T, self.head.bias[...]
        bias: Any = self.head.bias
        return self.head.kernel[...], bias[...]


class TiedHead(nnx.Module):
    """A head that compares a projection of the hidden state with the vector of every character.

    The vectors are those that the model reads (Press and Wolf 2017, "Using the Output Embedding to Improve
    Language Models"), so a character that is rare as a target is learned from its use as an input, too.
    With D features and V in the thousands, it takes D / H of the arithmetic of a head of its own.
    """

    def __init__(self, hidden_size: int, embedding_size: int, vocab_size: int, **options: Any) -> None:
        """Draw the first weights.

        Args:
            hidden_size: H.
            embedding_size: D.
            vocab_size: V.
            options: as of ``nnx.Linear``.
        """
        self.projection = nnx.Linear(hidden_size, embedding_size, use_bias=False, **options)
        self.bias = nnx.Param(jnp.zeros(vocab_size))
        self.dtype = options["dtype"]

    def __call__(self, hiddens: jax.Array, table: jax.Array) -> jax.Array:
        """Return logits [..., V] float32 of hidden states [..., H] and the input vectors [V, D]."""
        projected = self.projection(hiddens).astype(self.dtype)
        logits = jnp.matmul(projected, table.T.astype(self.dtype), preferred_element_type=jnp.float32)
        return logits + self.bias[...]


def num_parameters(module: nnx.Module) -> int:
    """Count the trainable numbers of a module."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def _row(name: str, module: nnx.Module, output_shape: str) -> LayerParameters:
    return LayerParameters(name, output_shape, num_parameters(module))


# ---- dropout -------------------------------------------------------------------------------------


def _mask(shape: tuple[int, ...], rate: float, key: jax.Array) -> jax.Array | None:
    """Return an inverted-dropout mask of 0 and 1 / (1 - rate), or None where nothing is dropped."""
    if rate == 0:
        return None
    return jax.random.bernoulli(key, 1 - rate, shape).astype(jnp.float32) / (1 - rate)


def _dropout(features: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    mask = None if key is None else _mask(features.shape, rate, key)
    return features if mask is None else features * mask


# ---- construction --------------------------------------------------------------------------------


def _make_cell(config: ModelConfig, features: int, hidden_size: int, rngs: nnx.Rngs) -> Cell:
    if config.cell not in GATE_BLOCKS:
        return _make_own_layer(config, features, hidden_size, rngs)
    blocks = GATE_BLOCKS[config.cell]
    kernel_init = _kernel_init(config)
    recurrent_init = nnx.initializers.orthogonal() if config.recurrent_init == "orthogonal" else kernel_init
    options: dict[str, Any] = {
        "kernel_init": _by_gate(kernel_init, blocks),
        "recurrent_kernel_init": _by_gate(recurrent_init, blocks),
        "dtype": jnp.dtype(config.dtype),
        "rngs": rngs,
    }
    if config.cell == "rnn":
        return nnx.SimpleCell(features, hidden_size, **options)
    gate_fn = GATE_FUNCTIONS[config.gate]
    if config.cell == "gru":
        gru = gru_with_two_biases if config.recurrent_bias else nnx.GRUCell
        return gru(features, hidden_size, gate_fn=gate_fn, **options)
    bias_init = _forget_bias_init(config.forget_bias)
    return nnx.OptimizedLSTMCell(features, hidden_size, gate_fn=gate_fn, bias_init=bias_init, **options)


def _make_own_layer(config: ModelConfig, features: int, hidden_size: int, rngs: nnx.Rngs) -> OwnLayer:
    if config.recurrent_dropout or config.weight_dropout:
        raise JaxcharError(
            f"--recurrent-dropout and --weight-dropout must be 0 with a cell of one's own, {config.cell!r}, "
            f"but they are {config.recurrent_dropout} and {config.weight_dropout}; give --dropout or "
            "--input-dropout"
        )
    own = registered_cell(config.cell)
    return OwnLayer(own, features, hidden_size, dtype=jnp.dtype(config.dtype), rngs=rngs)


def _kernel_init(config: ModelConfig) -> Initializer:
    if config.kernel_init == "uniform":
        return _symmetric_uniform(config.init_scale)
    if config.kernel_init == "normal":
        return nnx.initializers.normal(config.init_scale)
    return getattr(nnx.initializers, config.kernel_init)()


def _symmetric_uniform(scale: float) -> Initializer:
    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -scale, scale)

    return init


def _by_gate(init: Initializer, blocks: int) -> Initializer:
    """Draw each gate's [D, H] block on its own, as Keras 1 does: its fan is that of one gate."""

    def init_blocks(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        keys = jax.random.split(key, blocks)
        block = (shape[0], shape[1] // blocks)
        return jnp.concatenate([init(k, block, dtype) for k in keys], axis=1)

    return init_blocks


def _forget_bias_init(value: float) -> Initializer:
    """Zero biases but the forget gate's (Jozefowicz et al. 2015; Keras's unit_forget_bias)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        del key
        size = shape[0] // GATE_BLOCKS["lstm"]
        start = LSTM_FORGET_BLOCK * size
        return jnp.zeros(shape, dtype).at[start : start + size].set(value)

    return init
