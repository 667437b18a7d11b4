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


def model_maker(config: Config, dataset: Dataset) -> MakeModel:
    """Return what makes the model that :func:`jaxchar.load` would load, had its weights been saved."""
    vocabulary = dataset.vocabulary

    @cache
    def remembering() -> Remembering | None:
        """Return the training text, whose contexts are sorted once for all models of the run."""
        if config.memory != "text" or len(vocabulary) > MOST_SYMBOLS:
            return None
        return Remembering(TextMemory(np.asarray(dataset.splits["train"]), len(vocabulary)))

    def make_model(graphdef: nnx.GraphDef, params: nnx.State) -> LanguageModel:
        return LanguageModel(config, vocabulary, graphdef, params, remembering())

    return make_model
