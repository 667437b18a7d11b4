"""The randomness of a text: its key, and the noise that decides each of its characters.

Character n of a text is sampled with ``fold_in(key, n)``, whatever else is sampled beside it.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxchar.ambient import KEY_KIND, random_key
from jaxchar.recurrence import native
from jaxchar.tracing import numerics

NOISE_ROWS = 64  # characters whose noise is drawn in one go,
NOISE_NUMBERS = 1 << 16  # or as many as take so many numbers, where the vocabulary is large


def text_keys(seed: int, numbers: Sequence[int]) -> jax.Array:
    """Return the keys of some texts of a batch, [B]; number 0 is a text drawn alone.

    The others are counted from the end, where no character's number ever comes.
    """
    if not any(numbers):  # the usual case: nothing to compile
        key_data = jax.device_put(np.array([[0, seed]] * len(numbers), np.uint32))
        return jax.random.wrap_key_data(key_data, impl=KEY_KIND)
    return _text_keys(random_key(seed), np.array(numbers, np.uint32))


@jax.jit
def _text_keys(key: jax.Array, numbers: jax.Array) -> jax.Array:
    from_the_end = jax.vmap(partial(jax.random.fold_in, key))(-numbers)
    return jnp.where(numbers == 0, key, from_the_end)


def noise_rows(num_symbols: int) -> int:
    """Return for how many characters noise is drawn in one go.

    Character n's lies always in row n mod that: its bits depend on nothing but key and n, not even on how
    the processor treats the last rows.
    """
    return max(1, min(NOISE_ROWS, NOISE_NUMBERS // num_symbols))


def noise_of(key: jax.Array, first: jax.Array, num_symbols: int) -> jax.Array:
    """Return the Gumbel noise of a text's characters from number ``first`` on: [rows, V]."""
    numbers = first + jnp.arange(noise_rows(num_symbols))
    return jax.vmap(lambda n: jax.random.gumbel(jax.random.fold_in(key, n), (num_symbols,)))(numbers)


def noise_of_texts(keys: jax.Array, first: jax.Array, num_symbols: int) -> jax.Array:
    """Return the noise of B texts, [B, rows, V]; each one's has the bits of :func:`noise_of`.

    On a processor C++ draws the random bits: XLA's loops for them take three quarters of the time.
    """
    # Text by text: how a processor treats the last numbers of an array may change their last bits.
    if not (numerics().on_processor and native.is_available()):
        return lax.map(lambda key: noise_of(key, first, num_symbols), keys)
    result = jax.ShapeDtypeStruct((len(keys), noise_rows(num_symbols), num_symbols), jnp.uint32)
    bits = jax.ffi.ffi_call("jaxchar_random_bits", result)(jax.random.key_data(keys), jnp.int32(first))
    return lax.map(_gumbel, bits)


def _gumbel(bits: jax.Array) -> jax.Array:
    """Return what ``jax.random.gumbel`` makes of random bits: -ln(-ln u) of u, uniform between 0 and 1."""
    least = np.finfo(np.float32).tiny
    from_one = lax.bitcast_convert_type((bits >> 9) | np.uint32(0x3F800000), jnp.float32)
    uniform = jnp.maximum(least, (from_one - 1) * (np.float32(1) - least) + least)
    return -jnp.log(-jnp.log(uniform))
