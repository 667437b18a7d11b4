"""Our own models as safetensors: arrays in PyTorch's layout, with settings and vocabulary beside them."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax import nnx

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError, quoted
from jaxchar.interchange.network import Layer, Network, floats, known_cell
from jaxchar.interchange.parameters import to_params
from jaxchar.text import Text
from jaxchar.version import __version__

KEY = "jaxchar"  # of our text in the file, a JSON object


class Described(NamedTuple):
    """A model: parameters with what gives them meaning."""

    config: Config
    vocabulary: Vocabulary
    params: nnx.State


def texts_of(config: Config, vocabulary: Vocabulary) -> dict[str, str]:
    """Return what is written about a model into its file; paths of its text are reduced to names."""
    if not isinstance(config.corpus, Text):
        names = tuple(Path(source).name or source for source in config.sources)
        config = config.replace(corpus=names[0] if len(names) == 1 else names)
    record = {"version": __version__, "config": config.to_json(), "vocabulary": vocabulary.to_json()}
    return {"format": "pt", KEY: json.dumps(record)}


def read_ours(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> Described:
    """Return the model of a file that :mod:`jaxchar.interchange.writing` wrote, with the same bits.

    Args:
        arrays: by name, as PyTorch has them.
        texts: of the file; one of them is ours.

    Raises:
        JaxcharError: something in it is missing, or of another shape than it must be.
    """
    try:
        record = json.loads(texts[KEY])
        settings, symbols = record["config"], record["vocabulary"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise JaxcharError("its description is not one that jaxchar writes") from error
    config, vocabulary = Config.from_json(settings), Vocabulary.from_json(symbols)
    network = _network(arrays, config)
    if network.vocab_size != len(vocabulary):
        raise JaxcharError(f"it has {network.vocab_size:,} symbols, but a vocabulary of {len(vocabulary):,}")
    return Described(config, vocabulary, to_params(network, config))


def _network(arrays: dict[str, np.ndarray], config: Config) -> Network:
    def array(name: str) -> np.ndarray:
        if name not in arrays:
            raise JaxcharError(f"it has no array {quoted(name)}")
        return floats(arrays[name], name)

    embedding = array("embedding.weight") if config.embedding_size else None
    layers = []
    for number in range(len(config.layer_sizes)):
        name = f"layers.{number}"
        second = array(f"{name}.bias_hh_l0") if config.recurrent_bias else None
        inputs, recurrent = array(f"{name}.weight_ih_l0").T, array(f"{name}.weight_hh_l0").T
        layers.append(
            Layer(
                name,
                known_cell(config.cell),
                config.gate,
                inputs,
                recurrent,
                array(f"{name}.bias_ih_l0"),
                second,
            )
        )
    projection = array("projection.weight").T if config.tie_embeddings else None
    return Network(embedding, tuple(layers), array("head.weight").T, array("head.bias"), projection)
