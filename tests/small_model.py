"""A small model that was never trained, for the tests of sampling."""

import jax

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.language_model import LanguageModel
from jaxchar.model.split import split_model
from jaxchar.sampling.memory_decoder import Remembering

SYMBOLS = "\n abcde"


def make_model(remembering: Remembering | None = None, **settings) -> LanguageModel:
    """Return a small model with weights that make its text far from uniform."""
    config = Config(**{"hidden_size": 8, "seq_len": 5, **settings})
    graphdef, params = split_model(config, len(SYMBOLS))
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    return LanguageModel(config, Vocabulary(SYMBOLS), graphdef, params, remembering)
