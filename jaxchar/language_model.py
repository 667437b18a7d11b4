"""A trained model in hand: load it, write text with it."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxchar.ambient import pinned
from jaxchar.checkpoint.find import Loaded
from jaxchar.config import MEMORY_CONTEXT, SAMPLE_LENGTH, Config, SampleConfig, Weights
from jaxchar.data.documents import require_documents
from jaxchar.data.vocabulary import Unknown, Vocabulary
from jaxchar.errors import JaxcharError, quoted
from jaxchar.memory.text_memory import TextMemory
from jaxchar.model.held_units import checked_units, held_params, needs_recurrent_bias
from jaxchar.model.inside import Inside
from jaxchar.model.narrow_weights import check_weights, rounded_params
from jaxchar.model.params import Params, state_of
from jaxchar.model.split import model_structure
from jaxchar.recurrence.cells import CELL_KINDS
from jaxchar.recurrence.unroll import Implementation
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.sampling.prompt import check_known, notes_of
from jaxchar.sampling.session import TextSession
from jaxchar.scoring.dynamic import Learned, check_dynamic, learn_while_reading
from jaxchar.scoring.predict import predict, predict_one_by_one
from jaxchar.scoring.predictions import Predictions, Protocol
from jaxchar.scoring.score import Evaluation, Score
from jaxchar.scoring.with_memory import Counting, surprises_with_memory

AnyCounting = Literal["none"] | Counting


class LanguageModel(Inside):
    """Parameters with the vocabulary and the configuration that give them meaning.

    It can be copied, pickled, sent to processes that were spawned, and used by several threads at once.
    """

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        graphdef: nnx.GraphDef,
        state: nnx.State,
        remembering: Remembering | None = None,
        weights: Weights = "float32",
    ) -> None:
        """Wrap what makes a model; see :func:`jaxchar.load` for one from a checkpoint.

        Args:
            config: all settings of its training.
            vocabulary: the characters that it knows.
            graphdef: the network's structure.
            state: its parameters, as Flax keeps them.
            remembering: a text that is counted beside the network, and how much writing goes by it; None:
                the network alone.
            weights: how many bits the recurrent parameters have when it writes; they are rounded already, see
                :meth:`with_weights`.
        """
        self.config = config
        self.vocabulary = vocabulary
        self.graphdef = graphdef
        self.state = state
        self.remembering = remembering
        self.weights = weights
        self.session = TextSession(
            graphdef, state, vocabulary, config.context_limit, config, remembering, weights
        )

    def with_params(self, params: Params) -> "LanguageModel":
        """Return this model with other parameters, such as a training loop of one's own has found.

        Args:
            params: a pytree like :attr:`params`.

        Raises:
            JaxcharError: names or shapes are not this network's.
        """
        with pinned():
            state = state_of(jax.tree.map(jnp.asarray, params), self.state)
        return LanguageModel(self.config, self.vocabulary, self.graphdef, state, self.remembering)

    def with_held_units(self, units: Iterable[Sequence[Any]]) -> "LanguageModel":
        """Return this model with units whose output is held at a value: switched off, or always on.

        It is a network with other parameters, see :mod:`jaxchar.model.held_units`; whatever else this model
        can do, that one can. Its ``hidden_states`` show what a held unit would have been, which nothing
        hears.

        Args:
            units: (layer, unit) or (layer, unit, value) each, layer and unit from 0; the value is 0 if it is
                left out. A GRU whose units are held at another value computes in JAX, which is slower than
                C++.

        Raises:
            JaxcharError: there is no such unit, a unit is given twice, a value is no number from -10 to 10,
                or the cell is one of the user's own.
        """
        held = checked_units(units, self.config)
        config, graphdef, params, like = self.config, self.graphdef, self.params, self.state
        if needs_recurrent_bias(config, held) and not config.recurrent_bias:
            config = config.replace(recurrent_bias=True, implementation=_in_jax(config.implementation))
            graphdef, like = model_structure(config, len(self.vocabulary))
            for layer in params["layers"]:
                layer["recurrent_bias"] = jnp.zeros_like(layer["bias"])
        with pinned():
            state = state_of(jax.tree.map(jnp.asarray, held_params(params, held)), like)
        return LanguageModel(config, self.vocabulary, graphdef, state, self.remembering)

    def with_weights(self, weights: Weights) -> "LanguageModel":
        """Return this model with recurrent weights of fewer bits, which writes faster; this one stays.

        Its parameters are rounded, so whatever else it computes shows what that costs. How much that is and
        what it saves is in experiments/README.md.

        Args:
            weights: "bfloat16", or "int8", of which a column of a kernel shares a scale; "float32": as they
                are. See :mod:`jaxchar.model.narrow_weights`.

        Raises:
            JaxcharError: there are no such weights, or the cell is one of the user's own.
        """
        check_weights(weights)
        if self.config.cell not in CELL_KINDS:
            raise JaxcharError(
                f"weights of fewer bits are for {', '.join(CELL_KINDS)}, but the cell is "
                f"{quoted(self.config.cell)}; leave them out"
            )
        with pinned():
            params = jax.tree.map(jnp.asarray, rounded_params(self.params, weights))
            state = state_of(params, self.state)
        return LanguageModel(self.config, self.vocabulary, self.graphdef, state, self.remembering, weights)

    def __reduce__(self) -> tuple[Any, ...]:
        weights = [np.asarray(leaf) for leaf in jax.tree.leaves(self.state)]
        return _from_weights, (self.config, self.vocabulary, weights, self.remembering, self.weights)

    # ---- memory ----------------------------------------------------------------------------------

    def with_memory(self, share: float = 1.0, longest: int = MEMORY_CONTEXT) -> "LanguageModel":
        """Return this model, writing more or less by what it remembers.

        Args:
            share: 0 to 1, of the mixture of network and memory; the rest is the network's alone. 0: the
                network alone; 1: as far as the memory's own gate trusts it.
            longest: characters of the longest context that writing goes by. The longer, the more is copied
                from the remembered text.

        Raises:
            JaxcharError: the model remembers no text, or a number is outside its range.
        """
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise JaxcharError(f"share must be a number from 0 to 1, but it is {quoted(share)}")
        if not isinstance(longest, int) or longest < 0:
            raise JaxcharError(f"longest must be a whole number of at least 0, but it is {quoted(longest)}")
        if share == 0:
            return self._with(None)
        if self.remembering is None:
            raise JaxcharError(
                "the model remembers no text: its training kept the text out of the checkpoints, or it is of "
                "an older jaxchar; let it read one with adapted(), or train again"
            )
        return self._with(Remembering(self.remembering.memory, float(share), longest))

    @pinned()
    def adapted(self, text: str, *, dynamic: bool = False) -> "LanguageModel":
        """Return this model after it has read a text: it remembers that, too. This one stays as it is.

        Args:
            text: reduced as the training text was, with a warning; characters that the vocabulary lacks are
                left out.
            dynamic: the network learns from it, too; see :mod:`jaxchar.scoring.dynamic`. Its weights are
                float32 then, whatever :meth:`with_weights` has made of them.

        Raises:
            JaxcharError: the text has no character that the model knows (two of them for ``dynamic``), or
                ``dynamic`` is asked of a model of windows or of one that does not remember its training text.
        """
        (text,) = self._fitted("text to read", text)
        ids = self.vocabulary.encode(self.vocabulary.adapt(text, "skip"))
        if len(ids) == 0:
            raise JaxcharError("the text to read has no character that the model knows; give another one")
        learned = self._learned(ids).params if dynamic else None
        if self.remembering is None:
            return self._with(Remembering(TextMemory(ids, len(self.vocabulary))), learned)
        memory = self.remembering.memory.extended(ids)
        return self._with(self.remembering._replace(memory=memory), learned)

    def _learned(self, ids: np.ndarray) -> Learned:
        """Return what the network predicts of a text, [N] ids, if it learns as it reads, and its weights."""
        check_dynamic(self.config)
        training = np.empty(0) if self.remembering is None else self.remembering.memory.ids
        return learn_while_reading(self.graphdef, self.state, ids, training)

    def _with(self, remembering: Remembering | None, state: nnx.State | None = None) -> "LanguageModel":
        weights: Weights = self.weights if state is None else "float32"  # other ones are not rounded
        state = self.state if state is None else state
        return LanguageModel(self.config, self.vocabulary, self.graphdef, state, remembering, weights)

    # ---- writing ---------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str = "\n",
        length: int = SAMPLE_LENGTH,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        stop: str | Iterable[str] | None = None,
        seed: int = 0,
    ) -> str:
        """Return new characters that go on from a prompt.

        Temperature comes first; then each filter works on what the one before it left, in the order
        given here, and what remains is drawn from in proportion; see
        :func:`jaxchar.sampling.filters.filter_mask`.

        Args:
            prompt: at least one character. Characters that the vocabulary lacks are made to fit as the
                training text was (lower-cased, for example), with a warning, or else refused.
            length: characters to write, 0 or more; the prompt is not counted and not returned.
            temperature: 0 to 1,000. Below 1 bolder towards the probable, above 1 wilder; 0 always the
                most probable character.
            top_k: only the k most probable characters; 0: all.
            top_p: only the fewest characters that have this share of the probability together, above 0
                and at most 1; 1: all.
            min_p: only characters with at least this share, 0 to 1, of the most probable one's
                probability; 0: all.
            stop: the text ends with this string, or with the first of these strings that comes up in it.
            seed: 0 to 2^32 - 1. The same seed gives the same text, and the first part of it where
                ``length`` is less.

        Raises:
            JaxcharError: the prompt is empty, or it or a stop holds a character outside the vocabulary, or
                a number is outside its range.
        """
        settings = self._settings(length, temperature, top_k, top_p, min_p, stop, seed)
        (prompt,) = self._fitted("prompt", prompt)
        return "".join(self._stream(prompt, settings))

    def stream(
        self,
        prompt: str = "\n",
        length: int = SAMPLE_LENGTH,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        stop: str | Iterable[str] | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield the text that :meth:`generate` returns, piece by piece as it is drawn."""
        settings = self._settings(length, temperature, top_k, top_p, min_p, stop, seed)
        (prompt,) = self._fitted("prompt", prompt)
        return self._stream(prompt, settings)

    def generate_batch(
        self,
        prompts: Iterable[str],
        length: int = SAMPLE_LENGTH,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        stop: str | Iterable[str] | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Return a text for every prompt, of any lengths, drawn as one batch.

        Text number j depends on nothing but its prompt, the seed, and j; number 0 is what
        :meth:`generate` returns for its prompt. For several texts that go on from the same prompt, give
        it several times. The arguments and errors are those of :meth:`generate`.
        """
        settings = self._settings(length, temperature, top_k, top_p, min_p, stop, seed)
        prompts = self._fitted("prompt", *_listed(prompts))
        if not prompts:
            return []
        pieces = self.session.write_batch(prompts, settings)
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
        if not isinstance(count, int) or count < 0:
            raise JaxcharError(f"count must be a whole number of at least 0, but it is {quoted(count)}")
        settings = SampleConfig(
            length=longest, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed
        )
        return [document.text for document in self.session.write_documents(separator, count, settings)]

    def encoded(self, text: str) -> np.ndarray:
        """Return the ids of a text, [T]; see :meth:`generate` for characters that the model lacks."""
        found = self.session.fitted(text, "text")
        for note in notes_of("text", [found]):
            warnings.warn(note, stacklevel=4)  # of who called what needs the ids
        check_known("text", found.text, self.vocabulary, "Vocabulary.adapt")
        return self.vocabulary.encode(found.text)

    def _stream(self, prompt: str, settings: SampleConfig) -> Iterator[str]:
        start = self.session.start(prompt)
        return (piece for piece, _ in self.session.write(start, settings))

    def _fitted(self, what: str, *texts: str) -> list[str]:
        """Return texts reduced as the training text was, with a warning to the caller's caller."""
        found = [self.session.fitted(text, what) for text in texts]
        for note in notes_of(what, found):
            warnings.warn(note, stacklevel=3)
        return [each.text for each in found]

    def _settings(
        self,
        length: int,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        stop: str | Iterable[str] | None,
        seed: int,
    ) -> SampleConfig:
        """Return the settings of one call, checked; the stops reduced as the training text was."""
        settings = SampleConfig(
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            stop=_stops(stop),
            seed=seed,
        )
        found = [self.session.fitted(text, "stop") for text in settings.stop or ()]
        for note in notes_of("stop", found):
            warnings.warn(note, stacklevel=3)
        return replace(settings, stop=tuple(each.text for each in found) or None)

    # ---- scoring ---------------------------------------------------------------------------------

    @pinned()
    def score(
        self,
        text: str,
        *,
        context: str = "",
        unknown: Unknown = "error",
        memory: AnyCounting = "none",
        dynamic: bool = False,
    ) -> Score:
        """Return how surprising the model finds each character of a text.

        Every character is predicted from all that comes before it, or, by a model trained on windows,
        from the ``seq_len`` characters before it, as in sampling.

        Args:
            text: the characters to predict. Without a context the first one cannot be predicted: it is
                taken for the context of the others.
            context: what the model reads before, and is not asked for.
            unknown: what becomes of characters that are not in the vocabulary: "error" refuses them,
                "skip" leaves them out, "replace" takes their other case, or a space. The score says
                how many there were in text and context.
            memory: "none": the network alone; "static": with the counts of the text that the model
                remembers; "growing": and with those of context and text, as far as they were read. Ranks
                are always those of the network.
            dynamic: the network goes on learning as it reads; see :mod:`jaxchar.scoring.dynamic`.

        Raises:
            JaxcharError: there is no character to predict, or one that is not in the vocabulary; or as in
                :meth:`adapted`.
        """
        text, context = self._fitted("text to score", text, context)
        text, *changes = self.vocabulary.adapt_and_count(text, unknown)
        context, *changes_before = self.vocabulary.adapt_and_count(context, unknown)
        if not text or len(context + text) < 2:
            raise JaxcharError(
                f"the text to score has {len(text)} characters, but a prediction needs 2 of them, or 1 "
                "and a context; give more text"
            )
        remedy = "unknown='skip' or unknown='replace'"
        check_known("text to score", context + text, self.vocabulary, remedy)
        ids = self.vocabulary.encode(context + text)
        if dynamic:
            found = self._learned(ids).predictions
        else:
            found = predict_one_by_one(self.graphdef, self.state, ids, self.config.context_limit)
        found = found._replace(surprises=self._surprises(ids, found, memory))
        start = max(len(context), 1)
        asked = found.positions >= start
        replaced, left_out = map(sum, zip(changes, changes_before, strict=True))
        return Score(
            context=(context + text)[:start],
            text=(context + text)[start:],
            surprises=found.surprises[asked],
            ranks=found.ranks[asked],
            replaced=replaced,
            left_out=left_out,
        )

    def _surprises(self, ids: np.ndarray, found: Predictions, counting: AnyCounting) -> np.ndarray:
        """Return the surprises of predictions with counts beside the network's, [P]."""
        if counting not in ("none", *get_args(Counting)):
            raise JaxcharError(f"memory must be 'none', 'static' or 'growing', but it is {quoted(counting)}")
        if counting == "none":
            return found.surprises
        if self.remembering is None:
            raise JaxcharError("the model remembers no text; score with memory='none', or call adapted()")
        return surprises_with_memory(self.remembering.memory, ids, found, counting)

    @pinned()
    def predictions(self, ids: jax.Array, protocol: Protocol) -> Predictions:
        """Return surprise and rank of the characters of ids, [N], by a protocol of evaluation."""
        return predict(self.graphdef, self.state, ids, protocol)

    @pinned()
    def evaluate(self, ids: jax.Array, protocol: Protocol) -> Evaluation:
        """Return the figures of ids, [N], with intervals, by a protocol of evaluation."""
        return Evaluation.of(self.predictions(ids, protocol), protocol)


def _from_weights(
    config: Config,
    vocabulary: Vocabulary,
    leaves: list[np.ndarray],
    remembering: Remembering | None,
    weights: Weights,
) -> LanguageModel:
    """Return the model that was pickled, see ``LanguageModel.__reduce__``."""
    graphdef, like = model_structure(config, len(vocabulary))
    with pinned():
        state = jax.tree.unflatten(jax.tree.structure(like), map(jnp.asarray, leaves))
    return LanguageModel(config, vocabulary, graphdef, state, remembering, weights)


def _in_jax(implementation: Implementation) -> Implementation:
    """Return an implementation that has what C++ has not."""
    return "auto" if implementation == "native" else implementation


def _stops(stop: str | Iterable[str] | None) -> Any:
    """Return stops as the settings take them: none of them as None."""
    if isinstance(stop, Iterable) and not isinstance(stop, str | bytes):
        return tuple(stop) or None
    return stop


def _listed(prompts: Iterable[str]) -> list[str]:
    """Return several prompts as a list.

    Raises:
        JaxcharError: they are one text, or nothing that has items.
    """
    if isinstance(prompts, str | bytes) or not isinstance(prompts, Iterable):
        raise JaxcharError(
            f"prompts must be a list of texts, but it is {quoted(prompts)}; for one text call generate(), or "
            "give a list of one"
        )
    return list(prompts)


def from_checkpoint(loaded: Loaded) -> LanguageModel:
    """Return the model of a checkpoint that was loaded with :func:`weights_structure`."""
    config, vocabulary = loaded.metadata.config, loaded.metadata.vocabulary
    (weights,) = loaded.state.values()
    graphdef, _ = model_structure(config, len(vocabulary))
    remembering = None if loaded.memory is None else Remembering(loaded.memory)
    return LanguageModel(config, vocabulary, graphdef, weights, remembering)
