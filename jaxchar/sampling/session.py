"""Texts in progress: read a prompt, write on, go back, look at what might come next.

Between the ids of :mod:`jaxchar.sampling.generate` and a person or a program that wants text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from flax import nnx

from jaxchar.ambient import pinned, pinned_items
from jaxchar.config import CorpusConfig, SampleConfig, Weights
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.sampling.context import Context
from jaxchar.sampling.decoder import Decoder
from jaxchar.sampling.generate import Generator
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.sampling.noise import text_keys
from jaxchar.sampling.prompt import Fitted, check_known, check_stop, checked_prompt, fitted

DOCUMENTS_TOGETHER = 64  # sampled side by side
MANY = 1_000_000  # texts that no processor writes side by side
MOST_TRIES = 10  # numbers tried for each document asked for, where a model writes empty ones


class Passage(NamedTuple):
    """A text and what the model knows after it. It never changes: an older one can be gone back to."""

    text: str
    sampled: int  # how many of its characters were sampled: the next one's number
    context: Context  # of a batch of this one text


class Document(NamedTuple):
    """A text of its own, as the many that the model was trained on."""

    number: int  # among those of a seed
    text: str  # without its separator
    whole: bool  # False: it was cut off at the length that one may have


class Choice(NamedTuple):
    """A character that was written, and what else might have been."""

    character: str
    probability: float  # by the model, before temperature and filters
    others: list[tuple[str, float]]  # the most probable other characters, with their probabilities


class TextSession:
    """A model that reads and writes text."""

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        params: nnx.State,
        vocabulary: Vocabulary,
        window: int | None,
        corpus: CorpusConfig | None = None,
        remembering: Remembering | None = None,
        weights: Weights = "float32",
    ) -> None:
        """Take a model; see :class:`jaxchar.sampling.generate.Generator` for ``window``.

        Args:
            graphdef: the model's structure.
            params: its parameters.
            vocabulary: the characters that it knows.
            window: how many characters it looks back on.
            corpus: what its training text went through, for :meth:`fitted`; None: nothing.
            remembering: a memory beside the network; None: the network alone.
            weights: how many bits the recurrent weights have, where C++ reads and writes.
        """
        self.vocabulary = vocabulary
        self._corpus = corpus or CorpusConfig()
        self._params = params
        self._generator = Generator(graphdef, window, remembering=remembering, weights=weights)

    @property
    def writes_in_cpp(self) -> bool:
        """Whether the C++ library writes, with recurrent weights of as few bits as were asked for."""
        return self._generator.writes_in_cpp(self._params)

    @cached_property
    @pinned()
    def _decoder(self) -> Decoder:
        return self._generator.prepare(self._params)

    @cached_property
    @pinned()
    def _decoder_of_many(self) -> Decoder:
        return self._generator.prepare(self._params, MANY)

    def _decoder_of(self, texts: int) -> Decoder:
        """Return what writes so many texts side by side: with an accelerator, a few on the processor."""
        one, several = (self._generator.is_on_host(self._params, each) for each in (1, texts))
        return self._decoder if one == several else self._decoder_of_many

    def fitted(self, text: str, what: str = "prompt") -> Fitted:
        """Return a text reduced as the training text was, see :func:`jaxchar.sampling.prompt.fitted`."""
        return fitted(checked_prompt(text, what), self.vocabulary, self._corpus)

    @pinned()
    def start(self, prompt: str) -> Passage:
        """Read a prompt of at least one character, all of them in the vocabulary."""
        contexts = self._generator.contexts(self._decoder, [self._encoded(prompt)])
        return Passage(prompt, 0, contexts)

    @pinned()
    def extend(self, passage: Passage, text: str) -> Passage:
        """Read on: more text that was not sampled."""
        if not text:
            return passage
        contexts = self._generator.extended(self._decoder, passage.context, [self._encoded(text)])
        return Passage(passage.text + text, passage.sampled, contexts)

    def write(self, passage: Passage, config: SampleConfig, number: int = 0) -> Iterator[tuple[str, Passage]]:
        """Write on; yield each new piece of text, and the passage that ends with it.

        Args:
            passage: what to go on from. Where its last characters were sampled, the ones now sampled are
                those that one longer call would have sampled.
            config: how much to write, and how.
            number: of the text, among those of the same seed.
        """
        check_stop(config.stop, self.vocabulary)
        return pinned_items(self._write(passage, config, number))

    def _write(self, passage: Passage, config: SampleConfig, number: int) -> Iterator[tuple[str, Passage]]:
        tail = ""
        pieces = self._generator.pieces(
            self._decoder,
            passage.context,
            text_keys(config.seed, [number]),
            config.length,
            config,
            start=passage.sampled,
        )
        for ids, contexts in pieces:
            sampled = self.vocabulary.decode(ids[0])
            stopped = up_to_stop(tail, sampled, config.stop)
            piece = sampled if stopped is None else stopped
            if len(piece) < len(sampled):
                contexts = self._generator.extended(self._decoder, passage.context, [ids[0, : len(piece)]])
            passage = Passage(passage.text + piece, passage.sampled + len(piece), contexts)
            yield piece, passage
            if stopped is not None:
                return
            tail = _tail(tail + piece, config.stop)

    def write_batch(
        self, prompts: Sequence[str], config: SampleConfig, first: int = 0
    ) -> Iterator[list[str]]:
        """Write on from every prompt; yield the next piece of every text, which may be empty.

        Text number j is what :meth:`write` writes alone from its prompt with ``number=first + j``.
        """
        check_stop(config.stop, self.vocabulary)
        return pinned_items(self._write_batch([self._encoded(prompt) for prompt in prompts], config, first))

    def write_documents(self, separator: str, count: int, config: SampleConfig) -> Iterator["Document"]:
        """Write whole documents, each begun after a separator and ended by the next one.

        The document of a number depends on nothing but the seed and that number. One without a character
        is left out, and the next number takes its place.

        Args:
            separator: what ends every document of the text that the model was trained on.
            count: how many documents.
            config: how to draw; ``length`` is what the longest may have.
        """
        config = replace(config, length=config.length + len(separator), stop=(separator,))
        written = first = 0
        while written < count and first < MOST_TRIES * count:
            prompts = [separator] * min(count - written, DOCUMENTS_TOGETHER)
            pieces = self.write_batch(prompts, config, first)
            texts = ["".join(parts) for parts in zip([""] * len(prompts), *pieces, strict=True)]
            for number, text in enumerate(texts, start=first):
                whole = text.endswith(separator)
                text = text.removesuffix(separator) if whole else text[: -len(separator)]
                if text.strip():
                    written += 1
                    yield Document(number, text, whole)
            first += len(prompts)

    def _write_batch(
        self, prompts: Sequence[np.ndarray], config: SampleConfig, first: int
    ) -> Iterator[list[str]]:
        tails, active = [""] * len(prompts), np.ones(len(prompts), bool)
        decoder = self._decoder_of(len(prompts))
        pieces = self._generator.pieces(
            decoder,
            self._generator.contexts(decoder, prompts),
            text_keys(config.seed, range(first, first + len(prompts))),
            config.length,
            config,
            active=active,
        )
        for ids, _ in pieces:
            new = [""] * len(prompts)
            for number in np.flatnonzero(active):
                sampled = self.vocabulary.decode(ids[number])
                stopped = up_to_stop(tails[number], sampled, config.stop)
                new[number] = sampled if stopped is None else stopped
                active[number] = stopped is None
                tails[number] = _tail(tails[number] + sampled, config.stop)
            yield new
            if not active.any():
                return

    @pinned()
    def probabilities(self, passage: Passage, text: str = "") -> np.ndarray:
        """Return each symbol's probability before each character of a text, and after it: [N + 1, V]."""
        ids = self._encoded(text) if text else np.empty(0, np.int32)
        logits, _ = self._generator.token_logits(self._decoder, passage.context, ids)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
        return shares / shares.sum(axis=1, keepdims=True)

    def surprises(self, passage: Passage, text: str) -> np.ndarray:
        """Return how surprising each character of a text is after a passage, before filters: [N] nats."""
        shares = self.probabilities(passage, text)[:-1]
        own = shares[np.arange(len(text)), self.vocabulary.encode(text).astype(np.intp)]
        return -np.log(np.maximum(own, np.finfo(np.float64).tiny))

    def most_probable(self, passage: Passage, count: int) -> list[tuple[str, float]]:
        """Return the ``count`` most probable next characters with their probabilities, best first."""
        return self._ranked(self.probabilities(passage)[0], count)

    def choices(self, passage: Passage, text: str, count: int = 5) -> list[Choice]:
        """Return, for each character of a text that follows a passage, how it was chosen."""
        choices = []
        for character, row in zip(text, self.probabilities(passage, text), strict=False):
            ranked = self._ranked(row, count + 1)
            others = [other for other in ranked if other[0] != character][:count]
            own = float(row[self.vocabulary.symbols.index(character)])
            choices.append(Choice(character, own, others))
        return choices

    def _ranked(self, probabilities: np.ndarray, count: int) -> list[tuple[str, float]]:
        best = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.vocabulary.symbols[symbol], float(probabilities[symbol])) for symbol in best]

    def _encoded(self, prompt: str) -> np.ndarray:
        if not checked_prompt(prompt):
            raise JaxcharError("the prompt is empty; give at least one character to go on from")
        check_known("prompt", prompt, self.vocabulary)
        return self.vocabulary.encode(prompt)


def up_to_stop(tail: str, new: str, stop: Sequence[str] | None) -> str | None:
    """Return what of new text comes before the end of the first stop string, or None where none ends.

    Args:
        tail: what came just before; no stop string ends in it.
        new: the characters that follow.
        stop: the stop strings.
    """
    text = tail + new
    ends = [text.find(string) + len(string) for string in stop or () if string in text]
    return text[len(tail) : min(ends)] if ends else None


def _tail(text: str, stop: Sequence[str] | None) -> str:
    """Return the end of a text in which a stop string may have begun."""
    longest = max(map(len, stop or [""]))
    return text[-(longest - 1) :] if longest > 1 else ""
