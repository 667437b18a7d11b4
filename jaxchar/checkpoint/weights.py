"""The part of a checkpoint that a model needs: its weights."""

from flax import nnx

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.model.split import model_structure


def weights_structure(metadata: Metadata) -> dict[str, nnx.State]:
    """Return the part of a training state that a model needs: the average, where there is one."""
    _, params = model_structure(metadata.config, len(metadata.vocabulary))
    return {"average" if metadata.config.ema_decay else "params": params}
