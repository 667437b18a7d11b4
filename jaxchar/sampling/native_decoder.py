"""Reading and writing texts in C++ (``cpp/text.h``), many of them side by side on a processor.

Every text is computed by itself there: in a batch it has the same bits as alone.

Letters: B texts, R rows read side by side in a text, N characters, V symbols, D features, H hidden size.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxchar.config import Weights
from jaxchar.model.char_rnn import CharRNN
from jaxchar.model.narrow_weights import narrow
from jaxchar.recurrence import native
from jaxchar.recurrence.cells import Carry, HiddenCarry, LSTMCarry, kernels_of
from jaxchar.recurrence.fused import project
from jaxchar.recurrence.native_layer import keeps_memory
from jaxchar.recurrence.unroll import Cell, could_be_native, native_name
from jaxchar.sampling.context import Context, WindowContext
from jaxchar.sampling.decoder import MOST_PIECE, NetworkAlone
from jaxchar.sampling.filters import TracedParams, draw
from jaxchar.sampling.noise import noise_of_texts, noise_rows
from jaxchar.tracing import numerics


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NativeLayer:
    """The weights of a recurrent layer, its kernels as [panels, rows, columns of a panel]."""

    inputs: jax.Array  # of [D, 4H]; empty in the first layer, whose inputs are the table's
    input_scales: jax.Array  # [4H], or [0] where the weights are not scaled
    bias: jax.Array  # [4H]
    recurrent: jax.Array  # of [H, 4H]
    recurrent_scales: jax.Array  # [4H] or [0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NativeDecoder(NetworkAlone):
    """The same function as the model it was made from, to rounding."""

    table: jax.Array  # [V, 4H]: what each character adds to the first layer's gates, bias included
    layers: tuple[NativeLayer, ...]
    head: jax.Array  # of [H, V], in panels
    head_bias: jax.Array  # [V]
    zero_carry: tuple[Carry, ...]  # [1, H] each part: where every text begins
    cell: str = field(metadata={"static": True})  # as the library calls it

    @classmethod
    def of(cls, model: CharRNN, weights: Weights = "float32") -> "NativeDecoder | None":
        """Form what a model's steps have in common; None where the library cannot compute it.

        Args:
            model: whose weights are taken.
            weights: how many bits the recurrent ones have.
        """
        if model.config.implementation not in ("auto", "native"):
            return None
        cell = native_name(model.cells[0])
        if cell is None:
            if could_be_native(model.cells[0]) and numerics().on_processor:
                native.tell_why_slower()
            return None
        head, head_bias = model.head_weights()
        symbols = model.embedded(jnp.arange(model.vocab_size)[:, None])  # a text of every symbol, once
        return cls(
            table=_in_blocks(project(model.cells[0], symbols)[:, 0], cell),
            layers=tuple(_layer(own, number == 0, cell, weights) for number, own in enumerate(model.cells)),
            head=_in_panels(head),
            head_bias=head_bias,
            zero_carry=model.initial_carry(1),
            cell=cell,
        )

    @property
    def num_symbols(self) -> int:
        """V."""
        return len(self.head_bias)

    def read(self, contexts: Context, ids: jax.Array, lengths: jax.Array) -> Context:
        """Read on in B texts: ``lengths`` [B] characters of ids [B, N]; return the contexts after them."""
        return self._advance(contexts, ids, lengths, _no_noise(ids))[0]

    def token_logits(
        self, contexts: Context, ids: jax.Array, lengths: jax.Array
    ) -> tuple[Context, jax.Array]:
        """Read on; return the contexts after it, and the logits before each character, [B, N, V]."""
        contexts, _, logits = self._advance(contexts, ids, lengths, _no_noise(ids), keep_logits=True)
        return contexts, logits

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
        rows, stops = noise_rows(self.num_symbols), start + counts
        begin_block, end_block = start // rows, -(-jnp.max(stops) // rows)

        def noise_of_block(block: jax.Array) -> jax.Array:
            return noise_of_texts(keys, block * rows, self.num_symbols)

        def sample_block(block: jax.Array, so_far: tuple[Context, jax.Array, jax.Array]) -> tuple:
            contexts, ids, noise = so_far
            begin = jnp.maximum(block * rows, start)
            lengths = jnp.maximum(jnp.minimum((block + 1) * rows, stops) - begin, 0)
            skipped = begin - block * rows
            if filters:
                contexts, sampled = self._sample_filtered(contexts, lengths, noise, skipped, params)
            else:
                contexts, sampled = self._sample_all(contexts, lengths, noise, params.temperature, skipped)
            ids = lax.dynamic_update_slice(ids, sampled, (0, begin - start))
            following = lax.cond(block + 1 < end_block, noise_of_block, lambda _: noise, block + 1)
            return contexts, ids, following  # XLA forms it on another thread meanwhile

        ids = jnp.zeros((len(keys), MOST_PIECE + rows), jnp.int32)
        so_far = contexts, ids, noise_of_block(begin_block)
        contexts, ids, _ = lax.fori_loop(begin_block, end_block, sample_block, so_far)
        return contexts, ids[:, :MOST_PIECE]

    def _sample_all(
        self,
        contexts: Context,
        lengths: jax.Array,
        noise: jax.Array,
        temperature: jax.Array,
        noise_begin: jax.Array,
    ) -> tuple[Context, jax.Array]:
        """Sample from all characters: each time where logits and so many times the noise are largest.

        Args:
            contexts: of the texts.
            lengths: [B] int32, how many characters; noise_begin + lengths must not be above N.
            noise: [B, N, V].
            temperature: [] float32, how many times.
            noise_begin: [] int32: character i's noise is in row noise_begin + i.

        Returns:
            The contexts after it, and ids [B, N]; those beyond a text's length are undefined.
        """
        to_read = jnp.zeros(noise.shape[:2], jnp.int32)  # nothing
        contexts, ids, _ = self._advance(contexts, to_read, lengths, noise, temperature, noise_begin)
        return contexts, ids

    def _sample_filtered(
        self,
        contexts: Context,
        lengths: jax.Array,
        noise: jax.Array,
        noise_begin: jax.Array,
        params: TracedParams,
    ) -> tuple[Context, jax.Array]:
        """Sample from what the filters leave; see :meth:`_sample_all`."""
        to_read = jnp.zeros((len(lengths), 1), jnp.int32)  # any id: the sampled one takes its place

        def sample_one(i: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
            contexts, sampled = so_far
            active, before = i < lengths, contexts.last
            contexts, logits = self.token_logits(contexts, to_read, active.astype(jnp.int32))
            # Text by text, for the same bits as those of one alone.
            rows = logits[:, 0], noise[:, noise_begin + i]
            choice = lax.map(lambda row: draw(row[0], row[1], params), rows)
            return contexts._replace(last=jnp.where(active, choice, before)), sampled.at[:, i].set(choice)

        sampled = jnp.zeros(noise.shape[:2], jnp.int32)
        return lax.fori_loop(0, jnp.max(lengths), sample_one, (contexts, sampled))

    def _advance(
        self,
        contexts: Context,
        ids: jax.Array,
        lengths: jax.Array,
        noise: jax.Array,
        temperature: Any = 0.0,
        noise_begin: Any = 0,
        *,
        keep_logits: bool = False,
    ) -> tuple[Context, jax.Array, jax.Array]:
        """Return the contexts, the ids sampled [B, N], and the logits [B, N, V], or [B, N, 0]."""
        (B, N), V = ids.shape, self.num_symbols
        windowed = isinstance(contexts, WindowContext)
        position = contexts.position if isinstance(contexts, WindowContext) else jnp.zeros_like(lengths)
        arguments, results = [], []
        for layer, carry in zip(self.layers, contexts.carry, strict=True):
            state = carry.cell if isinstance(carry, LSTMCarry) else carry.hidden[..., :0]
            arguments += [
                layer.inputs,
                layer.input_scales,
                layer.bias,
                layer.recurrent,
                layer.recurrent_scales,
                state,
                carry.hidden,
            ]
            results += [_like(state), _like(carry.hidden)]
        kept = jax.ShapeDtypeStruct((B, N, V if keep_logits else 0), jnp.float32)
        results = [_like(contexts.last), _like(position), _like(ids), kept, *results]
        how = noise, jnp.float32(temperature), jnp.int32(noise_begin)
        weights = self.table, self.head, self.head_bias
        last, position, sampled, logits, *states = jax.ffi.ffi_call("jaxchar_texts", results)(
            ids,
            lengths,
            *how,
            contexts.last,
            position,
            *weights,
            *arguments,
            cell=self.cell,
            windowed=windowed,
        )
        carries = tuple(
            LSTMCarry(state, hidden) if isinstance(before, LSTMCarry) else HiddenCarry(hidden)
            for before, state, hidden in zip(contexts.carry, states[::2], states[1::2], strict=True)
        )
        contexts = contexts._replace(carry=carries, last=last)
        if isinstance(contexts, WindowContext):
            contexts = contexts._replace(position=position)
        return contexts, sampled, logits


def _no_noise(ids: jax.Array) -> jax.Array:
    return jnp.zeros((*ids.shape, 0))


def _like(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _layer(cell: Cell, is_first: bool, name: str, weights: Weights) -> NativeLayer:
    kernel, recurrent, bias, _ = kernels_of(cell)
    inputs, input_scales = jnp.zeros(0), jnp.zeros(0)
    if not is_first:
        inputs, input_scales = narrow(_in_blocks(kernel, name), weights)
        inputs = _in_panels(inputs)
    recurrent, recurrent_scales = narrow(_in_blocks(recurrent, name, recurrent=True), weights)
    return NativeLayer(inputs, input_scales, _in_blocks(bias, name), _in_panels(recurrent), recurrent_scales)


def _in_blocks(columns: jax.Array, cell: str, *, recurrent: bool = False) -> jax.Array:
    """Return gate columns [..., G] as [..., 4H]: a GRU keeps the two products apart for its last gate."""
    if keeps_memory(cell):
        return columns
    r, z, n = jnp.split(columns, 3, axis=-1)
    last_two = (jnp.zeros_like(n), n) if recurrent else (n, jnp.zeros_like(n))
    return jnp.concatenate([r, z, *last_two], axis=-1)


def _in_panels(kernel: jax.Array) -> jax.Array:
    """Return a kernel [rows, columns] as [panels, rows, columns of a panel], zeros behind the last column."""
    library = native.library()
    assert library is not None, "native_name has seen that it can be had"
    rows, columns = kernel.shape
    padding = -columns % library.panel_columns
    panels = jnp.pad(kernel, ((0, 0), (0, padding))).reshape(rows, -1, library.panel_columns)
    return jnp.swapaxes(panels, 0, 1)
