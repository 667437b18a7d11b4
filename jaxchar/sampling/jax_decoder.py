"""A decoder in JAX.

Letters: B texts, R rows read side by side, N characters, T characters a window, V vocabulary size,
D features, H hidden size, G gate columns.

A step of generation is a row of a table and, for each layer, the product of the state with the
recurrent kernel; the embedding, the first layer's input product and its bias are in the table. At one
row a product is as fast as the kernel can be read, and kernels lie transposed because a dot product
along a contiguous row is read fastest (by a fifth at H = 512 on the machines measured).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxchar.config import Precision
from jaxchar.model.char_rnn import CharRNN
from jaxchar.recurrence.cells import Carry, Equations, OwnLayer, equations_of, kernels_of, own_step
from jaxchar.recurrence.fused import project
from jaxchar.recurrence.unroll import Cell
from jaxchar.sampling.context import Context, StreamContext, WindowContext
from jaxchar.sampling.decoder import MOST_PIECE, NetworkAlone
from jaxchar.sampling.filters import TracedParams, draw
from jaxchar.sampling.noise import noise_of, noise_rows
from jaxchar.tracing import numerics

Rows = Literal["one by one", "batched"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JaxLayer:
    """The weights of a recurrent layer."""

    recurrent: jax.Array  # [G, H]
    inputs: jax.Array | None  # [G, D]; None in the first layer, whose inputs are the table's
    bias: jax.Array  # [G]
    recurrent_bias: jax.Array | None  # [G], where a GRU has two
    equations: Equations = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OwnJaxLayer:
    """The weights of a layer with a cell of one's own; its inputs are features, in the first layer, too."""

    weights: dict[str, jax.Array]
    own: Any = field(metadata={"static": True})  # the cell with its name
    dtype: Any = field(metadata={"static": True})

    def step(self, features: jax.Array, before: Carry) -> Carry:
        """Return the state after one more character, [R, H] each part, from [R, D] or [1, D] features."""
        features = jnp.broadcast_to(features, (len(before.hidden), features.shape[1]))
        return own_step(self.own, self.weights, before, features, self.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JaxDecoder(NetworkAlone):
    """The same function as the model it was made from, to rounding."""

    # [V, G]: what each character adds to the first layer's gates, bias included; [V, D]: its features, where
    # the cell is one's own.
    table: jax.Array
    layers: tuple[JaxLayer | OwnJaxLayer, ...]
    head: jax.Array  # [V, H]
    head_bias: jax.Array  # [V]
    zero_carry: tuple[Carry, ...]  # [1, H] each part: where every text begins
    dtype: str = field(metadata={"static": True})  # what the operands of products are rounded to
    precision: Precision = field(metadata={"static": True})  # of those products
    rows: Rows = field(metadata={"static": True})  # how the texts of a batch are computed

    @classmethod
    def of(cls, model: CharRNN, rows: Rows = "one by one") -> "JaxDecoder":
        """Form what a model's steps have in common.

        Args:
            model: whose weights are taken.
            rows: "one by one": a text of a batch equals the text alone, bit for bit; "batched": the texts
                share their products.
        """
        dtype = model.config.dtype
        head, head_bias = model.head_weights()
        symbols = model.embedded(jnp.arange(model.vocab_size)[:, None])  # a text of every symbol, once
        return cls(
            table=_table(model.cells[0], symbols),
            layers=tuple(_layer(cell, number == 0, dtype) for number, cell in enumerate(model.cells)),
            head=_transposed(head, dtype),
            head_bias=_rounded(head_bias, dtype),
            zero_carry=model.initial_carry(1),
            dtype=dtype,
            precision=model.config.precision,
            rows=rows,
        )

    @property
    def num_symbols(self) -> int:
        """V."""
        return self.head.shape[0]

    def read(self, contexts: Context, ids: jax.Array, lengths: jax.Array) -> Context:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""

        def read(context: Context, text: jax.Array, length: jax.Array) -> Context:
            return lax.fori_loop(
                0, length, lambda i, context: self._predict(context)[1]._replace(last=text[i]), context
            )

        return self._for_each_text(read, contexts, ids, lengths)

    def token_logits(
        self, contexts: Context, ids: jax.Array, lengths: jax.Array
    ) -> tuple[Context, jax.Array]:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""

        def follow(context: Context, text: jax.Array, length: jax.Array) -> tuple[Context, jax.Array]:
            def read(i: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
                context, all_logits = so_far
                logits, context = self._predict(context)
                return context._replace(last=text[i]), all_logits.at[i].set(logits)

            return lax.fori_loop(0, length, read, (context, jnp.zeros((len(text), self.num_symbols))))

        return self._for_each_text(follow, contexts, ids, lengths)

    def sample(
        self,
        contexts: Context,
        keys: jax.Array,
        start: jax.Array,
        counts: jax.Array,
        params: TracedParams,
        filters: bool,
    ) -> tuple[Context, jax.Array]:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""

        def sample(context: Context, key: jax.Array, count: jax.Array) -> tuple[Context, jax.Array]:
            return self._sample_piece(context, key, start, count, partial(draw, filters=filters), params)

        return self._for_each_text(sample, contexts, keys, counts)

    def _sample_piece(
        self,
        context: Context,
        key: jax.Array,
        start: jax.Array,
        count: jax.Array,
        draw: Callable[..., jax.Array],
        params: TracedParams,
    ) -> tuple[Context, jax.Array]:
        """Sample ``count`` characters of one text; return them as [MOST_PIECE] ids, the rest zeros."""
        stop, rows = start + count, noise_rows(self.num_symbols)

        def sample_block(block: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
            first = block * rows
            noise = noise_of(key, first, self.num_symbols)

            def sample_one(n: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
                context, ids = so_far
                logits, context = self._predict(context)
                sampled = draw(logits, noise[n - first], params)
                return context._replace(last=sampled), ids.at[n - start].set(sampled)

            begin, end = jnp.maximum(first, start), jnp.minimum(first + rows, stop)
            return lax.fori_loop(begin, end, sample_one, so_far)

        blocks = start // rows, -(-stop // rows)
        return lax.fori_loop(*blocks, sample_block, (context, jnp.zeros(MOST_PIECE, jnp.int32)))

    def _for_each_text(self, function: Callable[..., Any], *texts: Any) -> Any:
        if self.rows == "batched":
            return jax.vmap(function)(*texts)
        return lax.map(lambda text: function(*text), texts)

    def _step(self, ids: jax.Array, carry: tuple[Carry, ...]) -> tuple[jax.Array, tuple[Carry, ...]]:
        """Read one character in each row.

        Args:
            ids: [R], or [1] for the same character in every row.
            carry: the state of every layer before it, [R, H] each part.

        Returns:
            The last layer's hidden state [R, H] and the state of every layer.
        """
        features, carries = self.table[ids], []
        for layer, before in zip(self.layers, carry, strict=True):
            if isinstance(layer, OwnJaxLayer):
                carries.append(layer.step(features, before))
                features = carries[-1].hidden
                continue
            if layer.inputs is None:
                projected = features
            else:
                projected = self._product(features, layer.inputs) + layer.bias
            recurrent = self._product(before.hidden, layer.recurrent)
            if layer.recurrent_bias is not None:
                recurrent = recurrent + layer.recurrent_bias
            after, _ = layer.equations.forward(projected, recurrent, before)
            features = after.hidden
            carries.append(after)
        return features, tuple(carries)

    def _logits(self, features: jax.Array) -> jax.Array:
        """Return the next character's logits, [R, V], from the last layer's hidden state."""
        return self._product(features, self.head) + self.head_bias

    def _predict(self, context: Context) -> tuple[jax.Array, Context]:
        """Read the last character: return the next one's logits, [V], and the context that awaits it."""
        if isinstance(context, StreamContext):
            features, carry = self._step(context.last[None], context.carry)
            return self._logits(features)[0], StreamContext(carry, context.last)
        window = jax.tree.leaves(context.carry)[0].shape[0]
        carry = jax.tree.map(lambda part: part.at[context.position].set(0), context.carry)
        features, carry = self._step(context.last[None], carry)
        # The oldest slot is reused. In a text shorter than the window it has never been used: from a zero
        # state it has read the text from its first character.
        position = (context.position + 1) % window
        return self._logits(features[position][None])[0], WindowContext(carry, position, context.last)

    def _product(self, rows: jax.Array, transposed: jax.Array) -> jax.Array:
        """Return ``rows @ transposed.T``, which reads both along their rows."""
        rows = _rounded(rows, self.dtype)
        precision = numerics()._replace(precision=self.precision).of_products
        if len(rows) == 1:  # XLA would move the row about before a product of matrices
            return jnp.matmul(transposed, rows[0], precision=precision)[None]
        return lax.dot_general(rows, transposed, (((1,), (1,)), ((), ())), precision=precision)


def _table(cell: Cell, symbols: jax.Array) -> jax.Array:
    """Return what the first layer reads of every symbol; ``symbols`` are ids [V, 1] or vectors [V, 1, D]."""
    if not isinstance(cell, OwnLayer):
        return project(cell, symbols)[:, 0]
    return jnp.eye(len(symbols)) if symbols.ndim == 2 else symbols[:, 0]


def _layer(cell: Cell, is_first: bool, dtype: str) -> JaxLayer | OwnJaxLayer:
    if isinstance(cell, OwnLayer):
        return OwnJaxLayer({name: weight[...] for name, weight in cell.weights.items()}, cell.own, cell.dtype)
    transpose = partial(_transposed, dtype=dtype)
    inputs, recurrent, bias, recurrent_bias = kernels_of(cell)
    return JaxLayer(
        recurrent=transpose(recurrent),
        inputs=None if is_first else transpose(inputs),
        bias=bias,
        recurrent_bias=recurrent_bias,
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
