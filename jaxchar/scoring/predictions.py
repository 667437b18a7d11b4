"""What a model predicted of the characters of a text: surprise, rank, and how sure it was.

Letters: P predictions, V vocabulary size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxchar.data.batches import Blocks, Streams, Windows

Protocol = Windows | Streams | Blocks  # how a text is cut


class Predictions(NamedTuple):
    """The predictions of a text's characters, in the order of the text.

    Windows that overlap predict a character several times; the first of these had the most to go by.
    """

    positions: np.ndarray  # [P] int32, place of the predicted character in the text
    surprises: np.ndarray  # [P] float32, nats
    ranks: np.ndarray  # [P] int32, 1 where the model thought it the most probable
    # Of each prediction, what a memory's gate goes by; nobody else needs it.
    entropies: np.ndarray = np.empty(0, np.float32)  # [P], nats
    largest: np.ndarray = np.empty(0, np.float32)  # [P], the largest log-probability


def columns_of(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, ...]:
    """Return surprises, ranks, entropies and largest log-probabilities, [...], of targets under [..., V]."""
    surprises = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    logs = jax.nn.log_softmax(logits)
    entropies, largest = -jnp.sum(jnp.exp(logs) * logs, axis=-1), jnp.max(logs, axis=-1)
    return surprises, _ranks(logits, targets), entropies, largest


def _ranks(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return 1 + how many characters come before the target; of equals, as argmax has it, the lower id."""
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)
    ids = jnp.arange(logits.shape[-1])
    behind = (logits < chosen) | ((logits == chosen) & (ids >= targets[..., None]))
    return 1 + jnp.sum(~behind, axis=-1, dtype=jnp.int32)
