"""A small model that was never trained, for the tests of sampling."""

import jax

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.language_model import LanguageModel
from jaxchar.model.split import split_model

SYMBOLS = "\n abcde"


def make_model(**settings) -> LanguageModel:
    """Return a small model with weights that make its text far from uniform."""
    config = Config(hidden_size=8, seq_len=5, **settings)
    graphdef, params = split_model(config, len(SYMBOLS))
    return LanguageModel(config, Vocabulary(SYMBOLS), graphdef, jax.tree.map(lambda leaf: 3 * leaf, params))
