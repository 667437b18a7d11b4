"""The memory in C++, called through JAX; see ``cpp/memory.h``.

Letters: B texts, P characters, K orders, V symbols.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.memory.gate import Counts, Gate
from jaxchar.memory.lookup import Reading
from jaxchar.memory.text_index import ORDERS, TextIndex


def count_text(index: TextIndex, num_symbols: int, read: np.ndarray, reading: Reading) -> Counts:
    """Return the counts before each of the characters ``read[first:]``."""
    result = jax.ShapeDtypeStruct((len(read) - reading.first, len(ORDERS)), jnp.int32)
    call = jax.ffi.ffi_call("jaxchar_memory_counts", [result] * 3)
    counts = call(
        np.asarray(read, np.int32), *index, num_symbols=np.int64(num_symbols), **_attributes(reading)
    )
    return Counts(*counts)


def mix(
    index: TextIndex,
    gate: Gate,
    history: jax.Array,
    lengths: jax.Array,
    logits: jax.Array,
    share: jax.Array,
    longest: jax.Array,
) -> jax.Array:
    """Return the logarithms of the mixtures of B texts, [B, V]; see :func:`jaxchar.memory.lookup.mix`.

    Args:
        index: of the remembered text.
        gate: gives the weights.
        history: [B, DEEPEST] int32, the last characters of each text, at the end of each row.
        lengths: [B] int32, how many of them there are.
        logits: [B, V], the network's.
        share: [] float32, of the mixture.
        longest: [] int32, contexts that are longer count as not seen.
    """
    result = jax.ShapeDtypeStruct(logits.shape, jnp.float32)
    return jax.ffi.ffi_call("jaxchar_memory_mix", result)(
        history, lengths, logits, share, longest, *gate, *index
    )


def _attributes(reading: Reading) -> dict[str, object]:
    return {
        "first": np.int64(reading.first),
        "growing": reading.growing,
        "is_own_text": reading.is_own_text,
    }
