"""A trained model in hand: load it, write text with it."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from jaxchar.batches import Blocks, Streams, Windows
from jaxchar.checkpoint import Loaded, Which, load_checkpoint
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.generate import Generator
from jaxchar.loss import Means
from jaxchar.metadata import Metadata
from jaxchar.step import make_evaluation, split_model
from jaxchar.vocabulary import UnknownCharactersError, Vocabulary


class LanguageModel:
    """Parameters with the vocabulary and the configuration that give them meaning."""

    def __init__(
        self, config: Config, vocabulary: Vocabulary, graphdef: nnx.GraphDef, params: nnx.State
    ) -> None:
        """Take a model apart into what it is made of; see :func:`load` for one from a checkpoint."""
        self.config = config
        self.vocabulary = vocabulary
        self.graphdef = graphdef
        self.params = params
        self._generator = Generator(graphdef, config.context_limit)

    def generate(
        self, prompt: str = "\n", length: int = 1000, *, temperature: float = 1.0, seed: int = 0
    ) -> str:
        """Return ``length`` new characters that go on from a prompt.

        Args:
            prompt: at least one character, all of them in the vocabulary.
            length: characters to write; the prompt is not counted and not returned.
            temperature: below 1 bolder towards the probable, above 1 wilder; 0 always the most
                probable character.
            seed: the same seed gives the same text.

        Raises:
            JaxcharError: the prompt is empty or holds a character outside the vocabulary.
        """
        return "".join(self.stream(prompt, length, temperature=temperature, seed=seed))

    def stream(
        self, prompt: str = "\n", length: int = 1000, *, temperature: float = 1.0, seed: int = 0
    ) -> Iterator[str]:
        """Yield the text that :meth:`generate` returns, piece by piece as it is drawn."""
        if not prompt:
            raise JaxcharError("the prompt is empty; give at least one character to go on from")
        if length < 0 or not 0 <= temperature < math.inf:
            raise JaxcharError(
                f"length and temperature must be 0 or more, but they are {length} and {temperature}"
            )
        if not 0 <= seed < 2**32:
            raise JaxcharError(f"the seed must be a whole number from 0 to 2^32 - 1, but it is {seed}")
        try:
            ids = self.vocabulary.encode(prompt)
        except UnknownCharactersError as error:
            raise UnknownCharactersError(f"prompt: {error}") from error
        return self._pieces(ids, length, temperature, seed)

    def _pieces(self, prompt: np.ndarray, length: int, temperature: float, seed: int) -> Iterator[str]:
        context = self._generator.context(self.params, prompt)
        key = jax.random.key(seed)
        for ids in self._generator.ids(self.params, context, length, temperature=temperature, key=key):
            yield self.vocabulary.decode(ids)

    def evaluate(self, ids: jax.Array, batches: Windows | Streams | Blocks) -> Means:
        """Return loss and accuracy over ids, [N], cut by an evaluation protocol of :mod:`jaxchar.step`."""
        return Means.of(make_evaluation(self.graphdef, batches)(self.params, ids))


def load(path: str | Path, which: Which = "last") -> LanguageModel:
    """Load the model of a run folder, of its checkpoint folder, or of one checkpoint.

    Where the run kept a weight average, the model has the average's weights. A damaged checkpoint is
    passed over for the next one that is whole, with a warning.

    Raises:
        JaxcharError: there is no whole checkpoint.
    """
    loaded = load_checkpoint(path, weights_structure, which)
    for warning in loaded.warnings:
        warnings.warn(warning, stacklevel=2)
    return from_checkpoint(loaded)


def from_checkpoint(loaded: Loaded) -> LanguageModel:
    """Return the model of a checkpoint that was loaded with :func:`weights_structure`."""
    config, vocabulary = loaded.metadata.config, loaded.metadata.vocabulary
    (weights,) = loaded.state.values()
    return LanguageModel(config, vocabulary, _structure(loaded.metadata)[0], weights)


def weights_structure(metadata: Metadata) -> dict[str, nnx.State]:
    """Return the part of a training state that a model needs: the average, where there is one."""
    _, params = _structure(metadata)
    return {"average" if metadata.config.ema_decay else "params": params}


def _structure(metadata: Metadata) -> tuple[nnx.GraphDef, nnx.State]:
    return jax.eval_shape(lambda: split_model(metadata.config, len(metadata.vocabulary)))
