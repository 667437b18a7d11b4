"""A model made ready to read one character at a time, with everything formed beforehand that can be.

Letters: R rows read side by side, V vocabulary size, D features, H hidden size, G gate columns.

A step of generation is a row of a table and, for each layer, the product of the state with the
recurrent kernel; the embedding, the first layer's input product and its bias are in the table. At one
row a product is as fast as the kernel can be read, and kernels lie transposed because a dot product
along a contiguous row is read fastest (by a fifth at H = 512 on the machines measured).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxchar.model.char_rnn import CharRNN
from jaxchar.recurrence.cells import Carry, Equations, bias_of, equations_of
from jaxchar.recurrence.fused import project
from jaxchar.recurrence.unroll import Cell


class StreamContext(NamedTuple):
    """What a stateful model needs to know of the text so far."""

    carry: tuple[Carry, ...]  # [1, H] each part: after all characters but the last
    last: jax.Array  # [] int32, the last character's id


class WindowContext(NamedTuple):
    """What a windowed model needs to know of the text so far."""

    carry: tuple[Carry, ...]  # [T, H] each part: the readers', after all characters but the last
    place: jax.Array  # [] int32: of the reader that begins with the last character
    last: jax.Array  # [] int32, the last character's id


Context = StreamContext | WindowContext  # of one text; with a leading [B] in every part, of many


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ReaderLayer:
    """The weights of a recurrent layer."""

    recurrent: jax.Array  # [G, H]
    inputs: jax.Array | None  # [G, D]; None in the first layer, whose inputs are the table's
    bias: jax.Array  # [G]
    equations: Equations = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reader:
    """The same function as the model it was made from, to rounding."""

    table: jax.Array  # [V, G]: what each character adds to the first layer's gates, bias included
    layers: tuple[ReaderLayer, ...]
    head: jax.Array  # [V, H]
    head_bias: jax.Array  # [V]
    zero_carry: tuple[Carry, ...]  # [1, H] each part: where every text begins
    dtype: str = field(metadata={"static": True})  # what the operands of products are rounded to

    @classmethod
    def of(cls, model: CharRNN) -> "Reader":
        """Form what a model's steps have in common."""
        dtype = model.config.dtype
        head, head_bias = model.head_weights()
        symbols = model.embedded(jnp.arange(model.vocab_size)[:, None])  # a text of every symbol, once
        return cls(
            table=project(model.cells[0], symbols)[:, 0],
            layers=tuple(_layer(cell, number == 0, dtype) for number, cell in enumerate(model.cells)),
            head=_transposed(head, dtype),
            head_bias=_rounded(head_bias, dtype),
            zero_carry=model.initial_carry(1),
            dtype=dtype,
        )

    @property
    def num_symbols(self) -> int:
        """V."""
        return self.head.shape[0]

    def read(self, ids: jax.Array, carry: tuple[Carry, ...]) -> tuple[jax.Array, tuple[Carry, ...]]:
        """Read one character a row.

        Args:
            ids: [R], or [1] for the same character in every row.
            carry: the state of every layer before it, [R, H] each part.

        Returns:
            The last layer's hidden state [R, H] and the state of every layer.
        """
        features, carries = jnp.empty(0), []
        for layer, before in zip(self.layers, carry, strict=True):
            if layer.inputs is None:
                projected = self.table[ids]
            else:
                projected = self._product(features, layer.inputs) + layer.bias
            recurrent = self._product(before.hidden, layer.recurrent)
            after, _ = layer.equations.forward(projected, recurrent, before)
            features = after.hidden
            carries.append(after)
        return features, tuple(carries)

    def logits(self, features: jax.Array) -> jax.Array:
        """Return the next character's logits, [R, V], from the last layer's hidden state."""
        return self._product(features, self.head) + self.head_bias

    def predict(self, context: Context) -> tuple[jax.Array, Context]:
        """Read the last character: return the next one's logits, [V], and the context that awaits it."""
        if isinstance(context, StreamContext):
            features, carry = self.read(context.last[None], context.carry)
            return self.logits(features)[0], StreamContext(carry, context.last)
        window = jax.tree.leaves(context.carry)[0].shape[0]
        carry = jax.tree.map(lambda part: part.at[context.place].set(0), context.carry)
        features, carry = self.read(context.last[None], carry)
        # The next to begin takes the place of the one that began first. In a text shorter than the window
        # that place has never been taken: from a zero state it has read the text from its first character.
        place = (context.place + 1) % window
        return self.logits(features[place][None])[0], WindowContext(carry, place, context.last)

    def _product(self, rows: jax.Array, transposed: jax.Array) -> jax.Array:
        """Return ``rows @ transposed.T``, which reads both along their rows."""
        rows = _rounded(rows, self.dtype)
        if len(rows) == 1:  # XLA would move the row about before a product of matrices
            return (transposed @ rows[0])[None]
        return lax.dot_general(rows, transposed, (((1,), (1,)), ((), ())))


def _layer(cell: Cell, is_first: bool, dtype: str) -> ReaderLayer:
    transpose = partial(_transposed, dtype=dtype)
    return ReaderLayer(
        recurrent=transpose(cell.dense_h.kernel[...]),
        inputs=None if is_first else transpose(cell.dense_i.kernel[...]),
        bias=bias_of(cell),
        equations=equations_of(cell),
    )


def _transposed(kernel: jax.Array, dtype: str) -> jax.Array:
    return _rounded(kernel.T, dtype)


def _rounded(x: jax.Array, dtype: str) -> jax.Array:
    """Round float32 numbers to what ``dtype`` can hold; they stay float32, which a CPU multiplies faster."""
    if dtype == "float32":
        return x
    information: Any = jnp.finfo(dtype)
    return lax.reduce_precision(x, information.nexp, information.nmant)
