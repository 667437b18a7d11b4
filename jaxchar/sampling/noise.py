"""The randomness of a text: its key, and the noise that decides each of its characters.

Character n of a text is sampled with ``fold_in(key, n)``, whatever else is sampled beside it.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.ambient import random_key

NOISE_ROWS = 64  # characters whose noise is drawn in one go,
NOISE_NUMBERS = 1 << 16  # or as many as take so many numbers, where the vocabulary is large


def text_keys(seed: int, numbers: Sequence[int]) -> jax.Array:
    """Return the keys of some texts of a batch, [B]; number 0 is a text drawn alone.

    The others are counted from the end, where no character's number ever comes.
    """
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
