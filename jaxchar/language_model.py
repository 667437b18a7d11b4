"""A trained model in hand: load it, write text with it."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from jaxchar.batches import Blocks, Streams, Windows
from jaxchar.checkpoint import Loaded, Metadata, Which, load_checkpoint
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.generate import Generator
from jaxchar.loss import Means
from jaxchar.step import TrainState, make_evaluation, make_program, split_model
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
        self._generator = Generator(graphdef, config.seq_len if config.batching == "windows" else None)

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
        if length < 0 or temperature < 0:
            raise JaxcharError(
                f"length and temperature must be 0 or more, but they are {length} and {temperature}"
            )
        try:
            ids = self.vocabulary.encode(prompt)
        except UnknownCharactersError as error:
            raise JaxcharError(f"prompt: {error}") from error
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

    Where the run kept a weight average, the model has the average's weights.

    Raises:
        JaxcharError: there is no whole checkpoint.
    """
    return from_checkpoint(load_checkpoint(path, state_structure, which))


def from_checkpoint(loaded: Loaded) -> LanguageModel:
    """Return the model of a loaded checkpoint."""
    config, vocabulary = loaded.metadata.config, loaded.metadata.vocabulary
    graphdef, _ = jax.eval_shape(lambda: split_model(config, len(vocabulary)))
    return LanguageModel(config, vocabulary, graphdef, evaluation_params(loaded.state))


def state_structure(metadata: Metadata) -> TrainState:
    """Return the structure of the training state that a checkpoint's metadata promises."""
    program = make_program(metadata.config, len(metadata.vocabulary), metadata.corpus["characters"])
    return jax.eval_shape(program.initial_state)


def evaluation_params(state: TrainState) -> nnx.State:
    """Return the weights that evaluation and sampling use: the average, where there is one."""
    return state.params if state.average is None else state.average
