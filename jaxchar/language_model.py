"""A trained model in hand: load it, write text with it."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from jaxchar.checkpoint import Loaded, Which, load_checkpoint
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.generate import Generator
from jaxchar.metadata import Metadata
from jaxchar.score import Evaluation, Predictions, Protocol, Score, predict, predict_one_by_one
from jaxchar.step import split_model
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

    # ---- scoring ---------------------------------------------------------------------------------

    def score(self, text: str, *, context: str = "") -> Score:
        """Return how surprising the model finds each character of a text.

        Every character is predicted from all that comes before it, or, by a model trained on windows,
        from the ``seq_len`` characters before it, as in sampling.

        Args:
            text: the characters to predict. Without a context the first one cannot be predicted: it is
                taken for the context of the others.
            context: what the model reads before, and is not asked for.

        Raises:
            JaxcharError: there is no character to predict, or one that is not in the vocabulary.
        """
        if not text or len(context + text) < 2:
            raise JaxcharError(
                f"the text to score has {len(text)} characters, but a prediction needs 2 of them, or 1 "
                "and a context; give more text"
            )
        try:
            ids = self.vocabulary.encode(context + text)
        except UnknownCharactersError as error:
            raise UnknownCharactersError(f"text to score: {error}") from error
        found = predict_one_by_one(self.graphdef, self.params, ids, self.config.context_limit)
        start = max(len(context), 1)
        asked = found.positions >= start
        return Score(
            (context + text)[:start], (context + text)[start:], found.surprises[asked], found.ranks[asked]
        )

    def predictions(self, ids: jax.Array, protocol: Protocol) -> Predictions:
        """Return surprise and rank of the characters of ids, [N], by a protocol of :mod:`jaxchar.step`."""
        return predict(self.graphdef, self.params, ids, protocol)

    def evaluate(self, ids: jax.Array, protocol: Protocol) -> Evaluation:
        """Return loss, accuracy and their intervals over ids, [N], by a protocol of :mod:`jaxchar.step`."""
        return Evaluation.of(self.predictions(ids, protocol), protocol)


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
