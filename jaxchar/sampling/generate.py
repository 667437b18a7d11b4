"""Sampling: from a prompt's ids to new ids, many characters a call. Pure: no printing, no files.

A model trained on streams carries its state from character to character. A model trained on windows
never saw more than ``seq_len`` characters after a zero state, so it is given the same: for each of
the last ``seq_len`` characters there is a slot that began with it, all of them read on side by side,
and the oldest one predicts. That is the window read anew for every character, with one
product of ``seq_len`` rows where reading it again would need ``seq_len`` products one after another.

One key is one text. Character n of a text is drawn with ``fold_in(key, n)``, and text j of a batch
has the key j of :func:`text_keys`. A text drawn in a batch equals the text drawn alone. On a processor
:mod:`jaxchar.sampling.native_decoder` guarantees this. Elsewhere on a processor, without the C++ library,
the rows of a batch run one by one, because batched products round differently, and the last bit would now
and then choose another character. On other devices a batch is one product for all rows, which is many
times faster there, and a row equals the text drawn alone up to rounding.

Letters: B texts, R rows read side by side, T characters a window, V vocabulary size, H hidden size.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from jaxchar.config import SamplingParams, Weights
from jaxchar.model.char_rnn import CharRNN
from jaxchar.recurrence import native
from jaxchar.recurrence.unroll import native_name
from jaxchar.sampling.context import Context, StreamContext, WindowContext, batched, row_of
from jaxchar.sampling.decoder import MOST_PIECE, Decoder
from jaxchar.sampling.filters import TracedParams
from jaxchar.sampling.jax_decoder import JaxDecoder, Rows
from jaxchar.sampling.memory_decoder import MemoryDecoder, Remembering
from jaxchar.sampling.native_decoder import NativeDecoder
from jaxchar.sampling.noise import noise_rows
from jaxchar.tracing import host, numerics, platform_of, traced_for

FIRST_PIECE = 8  # characters: the first ones come at once
PIECE_SECONDS = 0.04  # how long a call should last, which bounds the wait for the next piece
HOST_OPERATIONS = 10_000_000  # a character, which take a processor about 100 microseconds
READ_CHARS = 128  # of a prompt, a call: one compilation serves prompts of any lengths

DecoderKind = Literal["auto", "one by one", "batched"]


class Generator:
    """The compiled sampler of one model, for any parameters, prompts and sampling parameters."""

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        window: int | None,
        decoder: DecoderKind = "auto",
        remembering: Remembering | None = None,
        weights: Weights = "float32",
    ) -> None:
        """Prepare; nothing is compiled before the first use.

        Args:
            graphdef: the model's structure.
            window: seq_len of a model trained on windows; None for one that carries its state.
            decoder: what reads and writes. "auto": on a processor C++ if it can be had, else JAX one text
                after another; on other devices JAX with batched products, or a few texts on the processor.
            remembering: a memory beside the network; None: the network alone.
            weights: how many bits the recurrent weights have, where C++ reads and writes.
        """
        self._weights: Weights = weights
        self._graphdef = graphdef
        self._window = window
        self._kind: DecoderKind = decoder
        self._remembering = remembering

    def prepare(self, params: nnx.State, texts: int = 1) -> Decoder:
        """Return the model's weights as sampling so many texts at a time needs them, and where.

        The weights stay where they are, or go to this machine's processor if that is faster.
        """
        if self.is_on_host(params, texts):
            params = jax.device_put(params, host())
        with traced_for(platform_of(params)):
            network = _prepared(params, self._graphdef, self._kind, self._weights, native.is_available())
        return network if self._remembering is None else MemoryDecoder.of(network, self._remembering)

    def is_on_host(self, params: nnx.State, texts: int) -> bool:
        """Return whether weights on an accelerator are to write so many texts on the processor.

        An accelerator launches some ten kernels for a character and waits for them. In that time, the C++
        decoder writes it, where the model is small and the texts are few. A memory is on the processor in any
        case.
        """
        if platform_of(params) == "cpu" or self._kind != "auto" or host() is None:
            return False
        operations = 2 * texts * sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
        model = nnx.merge(self._graphdef, params)
        is_faster = operations <= HOST_OPERATIONS or self._remembering is not None
        with traced_for("cpu"):
            return is_faster and all(native_name(cell) for cell in model.cells)

    def writes_in_cpp(self, params: nnx.State) -> bool:
        """Return whether the C++ library writes a text, with weights of as few bits as were asked for."""
        on_processor = platform_of(params) == "cpu" or self.is_on_host(params, 1)
        with traced_for("cpu"):
            cells = nnx.merge(self._graphdef, params).cells
            return on_processor and self._kind == "auto" and all(native_name(cell) for cell in cells)

    # ---- one text --------------------------------------------------------------------------------

    def context(self, params: nnx.State, prompt: np.ndarray) -> Context:
        """Return what the model knows after reading a prompt, [N] ids with N at least 1."""
        return row_of(self.contexts(self.prepare(params), [prompt]), 0)

    def ids(
        self,
        params: nnx.State,
        context: Context,
        length: int,
        *,
        temperature: float = 1.0,
        key: jax.Array,
    ) -> Iterator[np.ndarray]:
        """Yield the ids of ``length`` new characters of one text, [n] at a time, unfiltered."""
        config, decoder = SamplingParams(temperature=temperature), self.prepare(params)
        if platform_of(context) != platform_of(decoder.table):
            context = jax.device_put(context, decoder.table.sharding)
        for ids, _ in self.pieces(decoder, batched([context]), key[None], length, config):
            yield ids[0]

    # ---- many texts ------------------------------------------------------------------------------

    def contexts(self, decoder: Decoder, prompts: Sequence[np.ndarray]) -> Context:
        """Return what the model knows after each of B prompts of any lengths of at least 1."""
        prompts = [np.asarray(prompt, np.int32) for prompt in prompts]
        if self._window is not None:
            needed = max(self._window, decoder.history_chars)
            prompts = [prompt[-needed:] for prompt in prompts]
        begun = self._begun(decoder, np.array([prompt[0] for prompt in prompts], np.int32))
        return self.extended(decoder, begun, [prompt[1:] for prompt in prompts])

    def extended(self, decoder: Decoder, contexts: Context, texts: Sequence[np.ndarray]) -> Context:
        """Return the B contexts after each has read on, the ids of a text, [N] with any N, each."""
        for slices, lengths in _in_slices(texts):
            contexts = _call(_read, decoder, contexts, slices, lengths)
        return contexts

    def pieces(
        self,
        decoder: Decoder,
        contexts: Context,
        keys: jax.Array,
        length: int,
        config: SamplingParams,
        *,
        start: int = 0,
        active: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, Context]]:
        """Draw ``length`` new characters of B texts, some at a time.

        Neither the pieces nor the length asked for nor the other texts change which characters come.

        Args:
            decoder: see :meth:`prepare`.
            contexts: of B texts.
            keys: [B], one a text.
            length: characters to draw.
            config: how to draw them.
            start: the first one's number n: it is drawn with ``fold_in(key, n)``.
            active: [B] bool, which the caller may change on the way. False: finished, ids undefined.

        Yields:
            ids [B, n] and the contexts after them.
        """
        traced, done, count = TracedParams.of(config), 0, FIRST_PIECE
        while done < length:
            count = min(count, length - done)
            counts = (
                np.full(len(keys), count, np.int32) if active is None else count * active.astype(np.int32)
            )
            started = time.perf_counter()
            given = contexts, keys, np.int32(start + done), counts, traced
            contexts, ids = _call(_sample, decoder, *given, filters=config.filters)
            sampled = np.asarray(ids)[:, :count]
            seconds = time.perf_counter() - started
            yield sampled, contexts
            done += count
            count = max(1, min(4 * count, MOST_PIECE, round(PIECE_SECONDS * count / seconds)))
            count = _with_noise(count, start + done, noise_rows(decoder.num_symbols), len(keys))

    def token_logits(
        self, decoder: Decoder, contexts: Context, text: np.ndarray
    ) -> tuple[np.ndarray, Context]:
        """Read on in one text; return the logits before each of its characters and after the last.

        Args:
            decoder: see :meth:`prepare`.
            contexts: of B = 1 text.
            text: [N] ids, with any N.

        Returns:
            [N + 1, V], and the contexts after the text.
        """
        before_each = []
        for slices, lengths in _in_slices([text]):
            contexts, logits = _call(_token_logits, decoder, contexts, slices, lengths)
            before_each.append(np.asarray(logits)[0, : lengths[0]])
        _, after = _call(_token_logits, decoder, contexts, *_ANY_CHARACTER)
        return np.concatenate([*before_each, np.asarray(after)[0, :1]]), contexts

    def _begun(self, decoder: Decoder, first: np.ndarray) -> Context:
        """Return the contexts of texts of one character each, [B] ids."""
        rows = (len(first), self._window or 1)
        # In NumPy: each operation of JAX would first be compiled.
        carry = jax.tree.map(lambda part: np.zeros((*rows, part.shape[1]), np.float32), decoder.zero_carry)
        # Where the weights were put: JAX compiles again for an array that is only by default there.
        carry, last, position = jax.device_put((carry, first, np.zeros_like(first)), decoder.table.sharding)
        if self._window is None:
            return decoder.begun(StreamContext(carry, last))
        return decoder.begun(WindowContext(carry, position, last))


def _with_noise(count: int, number: int, rows: int, texts: int) -> int:
    """Return a piece's length changed so that it ends with a block of noise, which is drawn as a whole.

    Args:
        count: the length wanted.
        number: of the piece's first character.
        rows: characters of a block.
        texts: B. One text is watched as it comes: a short piece is left as it is. The noise of many takes as
            long as their characters.
    """
    beyond = (number + count) % rows
    if beyond and texts > 1:
        return min(count + rows - beyond, MOST_PIECE)
    return count - beyond if 2 * beyond <= count else count


# Each of these is compiled once for all models of one structure.
@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _prepared(
    params: nnx.State, graphdef: nnx.GraphDef, kind: DecoderKind, weights: Weights, _has_library: bool
) -> Decoder:
    return _decoder_of(nnx.merge(graphdef, params), kind, weights)


_read = jax.jit(lambda decoder, *given: decoder.read(*given))
_token_logits = jax.jit(lambda decoder, *given: decoder.token_logits(*given))
_sample = jax.jit(lambda decoder, *given, filters: decoder.sample(*given, filters), static_argnames="filters")


def _decoder_of(model: CharRNN, kind: DecoderKind, weights: Weights) -> Decoder:
    with traced_for(precision=model.config.precision):
        if kind != "auto":
            return JaxDecoder.of(model, kind)
        rows: Rows = "one by one" if numerics().on_processor else "batched"
        return NativeDecoder.of(model, weights) or JaxDecoder.of(model, rows)


def _call(compiled: jax.stages.Wrapped, decoder: Decoder, *given: Any, **static: Any) -> Any:
    """Call a compiled function of a decoder, for the platform that the decoder is on."""
    with traced_for(platform_of(decoder.table)):
        return compiled(decoder, *given, **static)


_ANY_CHARACTER = (np.zeros((1, READ_CHARS), np.int32), np.ones(1, np.int32))  # a slice of text


def _in_slices(texts: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield B texts READ_CHARS at a time: [B, READ_CHARS] ids, and how many of each row are text, [B]."""
    for start in range(0, max(map(len, texts)), READ_CHARS):
        slices = [text[start : start + READ_CHARS] for text in texts]
        ids = np.zeros((len(texts), READ_CHARS), np.int32)
        for row, piece in zip(ids, slices, strict=True):
            row[: len(piece)] = piece
        yield ids, np.array([len(piece) for piece in slices], np.int32)
