"""What its memory makes of a run's best model, for the last line of a run."""

import jax

from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.data.dataset import Dataset
from jaxchar.errors import JaxcharError
from jaxchar.memory.text_memory import MOST_REPORTED
from jaxchar.scoring.evaluation import score_validation
from jaxchar.training.run_folder import RunFolder


def best_with_memory(folder: RunFolder, dataset: Dataset) -> dict[str, float] | None:
    """Return the validation loss of a run's best model with its memory, by the way of counting, nats.

    None where there is no validation text, where nothing is remembered, or where sorting the text takes long.
    """
    held_out, remembered = len(dataset.splits["validation"]), len(dataset.splits["train"])
    if not held_out or remembered > MOST_REPORTED or jax.process_count() > 1:
        return None
    try:
        loaded = load_checkpoint(folder.path, weights_structure, "best")
    except JaxcharError:  # none was kept
        return None
    losses = score_validation(loaded, dataset).with_memory
    return {counting: loss.value for counting, loss in losses.items()} or None
