"""The loss of a model with a memory beside the network, next to that of the network alone."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from jaxchar.memory.text_memory import Foreseen, TextMemory
from jaxchar.model.loss import bits_per_char
from jaxchar.scoring.predictions import Predictions, Protocol
from jaxchar.scoring.score import Estimate, consecutive_blocks, mean_with_interval

Counting = Literal["static", "growing"]


def losses_with_memory(
    memory: TextMemory,
    ids: np.ndarray,
    predictions: Predictions,
    protocol: Protocol,
    countings: Iterable[Counting],
    *,
    is_own_text: bool = False,
) -> dict[Counting, Estimate]:
    """Return the loss of a text for each way of counting, nats per character, with its interval.

    Args:
        memory: the remembered text.
        ids: [N], the text that was predicted.
        predictions: the network's.
        protocol: how the text was cut for them.
        countings: "static": counts of the remembered text; "growing": and of this text, as far as read.
        is_own_text: it is the remembered text itself: a position's own occurrence is left out.
    """
    blocks, _ = consecutive_blocks(predictions.positions, protocol)
    return {
        counting: mean_with_interval(
            surprises_with_memory(memory, ids, predictions, counting, is_own_text=is_own_text), blocks
        )
        for counting in countings
    }


def surprises_with_memory(
    memory: TextMemory,
    ids: np.ndarray,
    predictions: Predictions,
    counting: Counting,
    *,
    is_own_text: bool = False,
) -> np.ndarray:
    """Return each predicted character's surprise, [P], nats; see :func:`losses_with_memory`."""
    foreseen = Foreseen(
        predictions.positions, predictions.surprises, predictions.entropies, predictions.largest
    )
    return memory.surprises(ids, foreseen, growing=counting == "growing", is_own_text=is_own_text)


def to_json(losses: dict[Counting, Estimate]) -> dict[str, Any]:
    """Return a JSON object: for each way of counting loss, bits per character, and the loss's interval."""
    return {
        counting: {
            "loss": loss.value,
            "bits_per_char": bits_per_char(loss.value),
            "interval": None if np.isnan(loss.low) else [loss.low, loss.high],
        }
        for counting, loss in losses.items()
    }
