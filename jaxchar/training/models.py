"""The model of a run that is still training, for its callbacks."""

from functools import cache

import numpy as np
from flax import nnx

from jaxchar.config import Config
from jaxchar.data.dataset import Dataset
from jaxchar.language_model import LanguageModel
from jaxchar.memory.text_memory import MOST_SYMBOLS, TextMemory
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.training.callbacks import MakeModel


def model_maker(remembers: bool, dataset: Dataset) -> MakeModel:
    """Return what makes the model that :func:`jaxchar.load` would load, had its weights been saved.

    Args:
        remembers: whether it remembers its training text.
        dataset: the text.
    """
    vocabulary = dataset.vocabulary

    @cache
    def remembering() -> Remembering | None:
        """Return the training text, whose contexts are sorted once for all models of the run."""
        if not remembers or len(vocabulary) > MOST_SYMBOLS:
            return None
        return Remembering(TextMemory(np.asarray(dataset.splits["train"]), len(vocabulary)))

    def make_model(config: Config, graphdef: nnx.GraphDef, params: nnx.State) -> LanguageModel:
        return LanguageModel(config, vocabulary, graphdef, params, remembering())

    return make_model
