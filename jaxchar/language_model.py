"""A trained model in hand: load it, write text with it."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from flax import nnx

from jaxchar.checkpoint import Loaded, Which, load_checkpoint
from jaxchar.config import Config, SampleConfig
from jaxchar.documents import require_documents
from jaxchar.errors import JaxcharError
from jaxchar.metadata import Metadata
from jaxchar.score import Evaluation, Predictions, Protocol, Score, predict, predict_one_by_one
from jaxchar.step import split_model
from jaxchar.vocabulary import UnknownCharactersError, Vocabulary
from jaxchar.writer import Writer


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
        self.writer = Writer(graphdef, params, vocabulary, config.context_limit)

    def generate(
        self,
        prompt: str = "\n",
        length: int = 1000,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
    ) -> str:
        """Return new characters that go on from a prompt.

        Temperature comes first; then each filter works on what the one before it left, in the order
        given here, and what remains is drawn from in proportion; see
        :func:`jaxchar.generate.left_by_filters`.

        Args:
            prompt: at least one character, all of them in the vocabulary.
            length: characters to write, 0 or more; the prompt is not counted and not returned.
            temperature: 0 to 1,000. Below 1 bolder towards the probable, above 1 wilder; 0 always the
                most probable character.
            top_k: only the k most probable characters; 0: all.
            top_p: only the fewest characters that have this share of the probability together, above 0
                and at most 1; 1: all.
            min_p: only characters with at least this share, 0 to 1, of the most probable one's
                probability; 0: all.
            stop: the text ends with the first of these strings that comes up in it.
            seed: 0 to 2^32 - 1. The same seed gives the same text, and the first part of it where
                ``length`` is less.

        Raises:
            JaxcharError: the prompt is empty or holds a character outside the vocabulary, or a number is
                outside its range.
        """
        settings = _settings(length, temperature, top_k, top_p, min_p, stop, seed)
        return "".join(self._stream(prompt, settings))

    def stream(
        self,
        prompt: str = "\n",
        length: int = 1000,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield the text that :meth:`generate` returns, piece by piece as it is drawn."""
        return self._stream(prompt, _settings(length, temperature, top_k, top_p, min_p, stop, seed))

    def generate_batch(
        self,
        prompts: Sequence[str],
        length: int = 1000,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """Return a text for every prompt, of any lengths, drawn as one batch.

        Text number j depends on nothing but its prompt, the seed, and j; number 0 is what
        :meth:`generate` returns for its prompt. For several texts that go on from the same prompt, give
        it several times. The arguments and errors are those of :meth:`generate`.
        """
        if not prompts:
            return []
        settings = _settings(length, temperature, top_k, top_p, min_p, stop, seed)
        pieces = self.writer.write_batch(prompts, settings)
        return ["".join(texts) for texts in zip([""] * len(prompts), *pieces, strict=True)]

    def documents(
        self,
        count: int,
        *,
        longest: int = 10_000,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Return new documents, whole ones, of a model that was trained on many short texts.

        Args:
            count: how many; there are fewer only where the model writes hardly any that is not empty.
            longest: characters at which a document that does not end is cut off.
            temperature: as in :meth:`generate`, and so are the filters.
            top_k: only the k most probable characters; 0: all.
            top_p: only the fewest characters that have this share of the probability together; 1: all.
            min_p: only characters with this share of the most probable one's probability; 0: all.
            seed: the same seed gives the same documents, and the first ones where ``count`` is less.

        Raises:
            JaxcharError: the model was trained on one running text, or a number is outside its range.
        """
        separator = require_documents(self.config.separator)
        settings = _settings(longest, temperature, top_k, top_p, min_p, (), seed)
        return [document.text for document in self.writer.write_documents(separator, count, settings)]

    def _stream(self, prompt: str, settings: SampleConfig) -> Iterator[str]:
        start = self.writer.start(prompt)
        return (piece for piece, _ in self.writer.write(start, settings))

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
        """Return surprise and rank of the characters of ids, [N], by a protocol of :mod:`jaxchar.batches`."""
        return predict(self.graphdef, self.params, ids, protocol)

    def evaluate(self, ids: jax.Array, protocol: Protocol) -> Evaluation:
        """Return the figures of ids, [N], with intervals, by a protocol of :mod:`jaxchar.batches`."""
        return Evaluation.of(self.predictions(ids, protocol), protocol)


def _settings(
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    stop: str | Sequence[str],
    seed: int,
) -> SampleConfig:
    """Return the settings of one call, checked."""
    return SampleConfig(
        length=length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        stop=((stop,) if isinstance(stop, str) else tuple(stop)) or None,
        seed=seed,
    )


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
