"""What a model predicts of a batch, and how well.

Letters: B batch, T time steps, V vocabulary size, H hidden size.
"""

from collections.abc import Callable
from typing import Any

import jax

from jaxchar.data.batches import Batch
from jaxchar.model.char_rnn import CharRNN
from jaxchar.model.loss import MetricSums, cross_entropy_sums
from jaxchar.recurrence.cells import Carry


def logits_of_targets(model: CharRNN, batch: Batch) -> Callable[..., Any]:
    """Return the method of a model that has logits where the batch has targets: [B, T, V] or [B, V]."""
    return model if batch.targets.ndim == 2 else model.last_logits


def sums_over_batch(
    model: CharRNN, batch: Batch, carry: tuple[Carry, ...], key: jax.Array | None
) -> tuple[MetricSums, tuple[Carry, ...]]:
    """Sum the cross-entropy of a model's predictions of a batch.

    Args:
        model: predicts after every character, or after the last one only, as the batch has targets.
        batch: inputs [B, T], targets [B, T] or [B].
        carry: the state of every layer before it, [B, H] each part.
        key: draws the dropout masks; None switches dropout off.

    Returns:
        The sums, and the state of every layer after the batch.
    """
    logits, carry = logits_of_targets(model, batch)(batch.inputs, carry, key)
    return cross_entropy_sums(logits, batch.targets, batch.weights), carry
