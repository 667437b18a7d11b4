"""Cross-entropy, accuracy, and the units they are told in."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class MetricSums(NamedTuple):
    """Sums over the characters predicted so far; a mean is a ratio of two of them."""

    loss: jax.Array  # float32, nats
    correct: jax.Array  # int32, predictions whose most probable character was right
    count: jax.Array  # type: ignore[assignment]  # int32

    @classmethod
    def zero(cls) -> "MetricSums":
        """Return the sums over nothing."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def add(self, other: "MetricSums") -> "MetricSums":
        """Return the sums over both."""
        return MetricSums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Means(NamedTuple):
    """Loss and accuracy for each character, as Python numbers."""

    loss: float  # nats per character
    accuracy: float
    count: int  # type: ignore[assignment]

    @classmethod
    def of(cls, sums: MetricSums) -> "Means":
        """Divide by the count, which waits for the device."""
        loss, correct, count = jax.device_get(sums)
        return cls(float(loss) / max(int(count), 1), int(correct) / max(int(count), 1), int(count))


def cross_entropy_sums(logits: jax.Array, targets: jax.Array, weights: jax.Array) -> MetricSums:
    """Sum the cross-entropy of predictions, in float32.

    Args:
        logits: [..., V].
        targets: [...] ids of the characters that came.
        weights: [...] 1 for a real prediction, 0 for padding.
    """
    logits = logits.astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    correct = (jnp.argmax(logits, axis=-1) == targets) & (weights > 0)
    return MetricSums(
        jnp.sum(losses * weights),
        jnp.sum(correct, dtype=jnp.int32),
        jnp.sum(weights > 0, dtype=jnp.int32),
    )


def bits_per_char(loss: float) -> float:
    """Convert nats per character to bits per character."""
    return loss / math.log(2)
