"""Reading and writing texts with a memory beside the network.

Letters: B texts, N characters, V symbols; DEEPEST, the longest context of the memory.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxchar.config import MEMORY_CONTEXT
from jaxchar.memory import lookup, native_memory
from jaxchar.memory.gate import Gate
from jaxchar.memory.text_index import DEEPEST, TextIndex
from jaxchar.memory.text_memory import TextMemory
from jaxchar.recurrence import native
from jaxchar.sampling.context import Context, MemoryContext
from jaxchar.sampling.decoder import MOST_PIECE, Decoder
from jaxchar.sampling.filters import TracedParams, draw
from jaxchar.sampling.noise import noise_of_texts, noise_rows
from jaxchar.tracing import numerics, platform_of


class Remembering(NamedTuple):
    """A memory, and how much writing goes by it."""

    memory: TextMemory
    share: float = 1.0  # of the mixture, 0 to 1; the rest is the network's alone
    longest: int = MEMORY_CONTEXT  # contexts that are longer count as not seen


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MemoryDecoder:
    """A decoder whose logits are the logarithms of the mixture of network and memory."""

    decoder: Decoder  # the network's
    index: TextIndex
    gate: Gate
    share: Any  # [] float32
    longest: Any  # [] int32

    @classmethod
    def of(cls, decoder: Decoder, remembering: Remembering) -> "MemoryDecoder":
        """Put a memory beside a network."""
        share, longest = np.float32(remembering.share), np.int32(remembering.longest)
        elsewhere = platform_of(decoder.table) != jax.default_backend()
        parts = jax.device_put(
            (remembering.memory.index, Gate.fitted(), share, longest),
            decoder.table.sharding if elsewhere else None,
        )
        return cls(decoder, *parts)

    @property
    def num_symbols(self) -> int:
        """V."""
        return self.decoder.num_symbols

    @property
    def table(self) -> jax.Array:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""
        return self.decoder.table

    @property
    def zero_carry(self) -> tuple:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""
        return self.decoder.zero_carry

    @property
    def history_chars(self) -> int:
        """The longest context of the memory."""
        return DEEPEST

    def begun(self, contexts: Context) -> Any:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""
        history = np.zeros((len(contexts.last), DEEPEST), np.int32)
        history[:, -1] = contexts.last
        lengths = np.ones(len(history), np.int32)
        return MemoryContext(contexts, *jax.device_put((history, lengths), contexts.last.sharding))

    def read(self, contexts: Any, ids: jax.Array, lengths: jax.Array) -> Any:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""
        network = self.decoder.read(contexts.network, ids, lengths)
        return _appended(contexts, ids, lengths)._replace(network=network)

    def token_logits(self, contexts: Any, ids: jax.Array, lengths: jax.Array) -> tuple[Any, jax.Array]:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""
        network, logits = self.decoder.token_logits(contexts.network, ids, lengths)

        def mix_one(i: jax.Array, so_far: tuple[MemoryContext, jax.Array]) -> tuple[MemoryContext, jax.Array]:
            contexts, logits = so_far
            mixed = self._mixed(contexts, logits[:, i])
            read = (i < lengths).astype(jnp.int32)
            return _appended(contexts, lax.dynamic_slice_in_dim(ids, i, 1, 1), read), logits.at[:, i].set(
                mixed
            )

        contexts, logits = lax.fori_loop(0, jnp.max(lengths), mix_one, (contexts, logits))
        return contexts._replace(network=network), logits

    def sample(
        self,
        contexts: Any,
        keys: jax.Array,
        start: jax.Array,
        counts: jax.Array,
        params: TracedParams,
        filters: bool,
    ) -> tuple[Any, jax.Array]:
        """See :class:`jaxchar.sampling.decoder.Decoder`."""
        rows, stop = noise_rows(self.num_symbols), start + jnp.max(counts)
        to_read = jnp.zeros((len(keys), 1), jnp.int32)  # any id: the sampled one takes its place

        def sample_block(block: jax.Array, so_far: tuple[MemoryContext, jax.Array]) -> tuple:
            first = block * rows
            noise = noise_of_texts(keys, first, self.num_symbols)

            def sample_one(n: jax.Array, so_far: tuple[MemoryContext, jax.Array]) -> tuple:
                contexts, sampled = so_far
                active, last = n - start < counts, contexts.network.last
                read = active.astype(jnp.int32)
                network, logits = self.decoder.token_logits(contexts.network, to_read, read)
                mixed = self._mixed(contexts, logits[:, 0])
                choose = partial(draw, params=params, filters=filters)
                choice = lax.map(lambda row: choose(*row), (mixed, noise[:, n - first]))
                contexts = _appended(contexts, choice[:, None], read)
                network = network._replace(last=jnp.where(active, choice, last))
                return contexts._replace(network=network), sampled.at[:, n - start].set(choice)

            begin, end = jnp.maximum(first, start), jnp.minimum(first + rows, stop)
            return lax.fori_loop(begin, end, sample_one, so_far)

        sampled = jnp.zeros((len(keys), MOST_PIECE), jnp.int32)
        return lax.fori_loop(start // rows, -(-stop // rows), sample_block, (contexts, sampled))

    def _mixed(self, contexts: MemoryContext, logits: jax.Array) -> jax.Array:
        """Return the logarithms of the mixtures, [B, V], for the network's logits, [B, V]."""
        history, lengths = contexts.history, contexts.length
        given = self.index, self.gate, history, lengths, logits, self.share, self.longest
        if numerics().on_processor and native.is_available():
            return native_memory.mix(*given)
        return jax.pure_callback(_mixed_in_numpy, jax.ShapeDtypeStruct(logits.shape, jnp.float32), *given)


def _appended(contexts: Any, ids: jax.Array, lengths: jax.Array) -> MemoryContext:
    """Return contexts whose histories have ``lengths`` [B] more characters, of ids [B, N]."""

    def append(history: jax.Array, text: jax.Array, length: jax.Array) -> jax.Array:
        return lax.dynamic_slice_in_dim(jnp.concatenate([history, text]), length, DEEPEST)

    history = jax.vmap(append)(contexts.history, ids, lengths)
    return contexts._replace(history=history, length=jnp.minimum(contexts.length + lengths, DEEPEST))


def _mixed_in_numpy(
    index: TextIndex, gate: Gate, history: Any, lengths: Any, logits: Any, share: Any, longest: Any
) -> np.ndarray:
    index, gate = TextIndex(*map(np.asarray, index)), Gate(*map(np.asarray, gate))
    rows = zip(np.asarray(history), np.asarray(lengths), np.asarray(logits), strict=True)
    mixed = [
        lookup.mix(index, gate, before[len(before) - length :], row, float(share), int(longest))
        for before, length, row in rows
    ]
    return np.stack(mixed)
