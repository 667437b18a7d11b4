"""Random numbers: all of them follow from (seed, step), and every purpose has keys of its own.

:func:`cheap_bernoulli` is for masks for which JAX's own generator would cost more than what the mask is for.
On two cores, the bits of a mask of 512 x 2,048 numbers take 0.5 ms there and 14 ms from threefry. It
computes with integers alone, so every device and every number of devices has the same bits.
"""

import jax
import jax.numpy as jnp

from jaxchar.ambient import random_key

INIT_KEY, SHUFFLE_KEY, DROPOUT_KEY, SAMPLE_KEY = range(4)


def purpose_key(seed: int | jax.Array, purpose: int) -> jax.Array:
    """Return the key of one purpose (INIT_KEY, SHUFFLE_KEY, ...) under a seed."""
    return jax.random.fold_in(random_key(seed), purpose)


def mixed(x: jax.Array) -> jax.Array:
    """Scramble the bits of uint32 numbers (the finaliser of MurmurHash3, A. Appleby)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def cheap_bernoulli(key: jax.Array, probability: float, shape: tuple[int, ...]) -> jax.Array:
    """Return a [rows, columns] bool array, each element True with a probability, all by the key."""
    row_key, column_key = jax.random.bits(key, (2,), jnp.uint32)
    rows = mixed(jnp.arange(shape[0], dtype=jnp.uint32) ^ row_key)
    columns = mixed(jnp.arange(shape[1], dtype=jnp.uint32) ^ column_key)
    bits = mixed(rows[:, None] ^ columns)
    return bits < jnp.uint32(min(round(probability * 2**32), 2**32 - 1))
