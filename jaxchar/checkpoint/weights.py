"""The parts of a checkpoint that a model needs: its weights, and the text that it remembers."""

from pathlib import Path

import numpy as np
from flax import nnx

from jaxchar.checkpoint.arrays import MEMORY, read_array
from jaxchar.checkpoint.damage import Damaged, damage_named
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.errors import JaxcharError
from jaxchar.memory.text_memory import TextMemory
from jaxchar.model.split import model_structure


def weights_structure(metadata: Metadata) -> dict[str, nnx.State]:
    """Return the part of a training state that a model needs: the average, where there is one."""
    _, params = model_structure(metadata.config, len(metadata.vocabulary))
    return {"average" if metadata.config.ema_decay else "params": params}


def read_memory(checkpoint: Path, metadata: Metadata) -> TextMemory | None:
    """Return the text that a checkpoint's model remembers; None where it was trained without a memory.

    Raises:
        Damaged: the text is altered.
    """
    ids = read_array(checkpoint, MEMORY)
    if ids is None:
        return None
    with damage_named(checkpoint):
        if ids.dtype not in (np.uint8, np.uint16):
            raise Damaged(f"{MEMORY} is {ids.dtype}, expected uint8 or uint16")
        try:
            return TextMemory(ids, len(metadata.vocabulary))
        except JaxcharError as error:
            raise Damaged(f"{MEMORY}: {error}") from error
