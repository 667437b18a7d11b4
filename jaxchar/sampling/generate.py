"""Sampling: from a prompt's ids to new ids, many characters a call. Pure: no printing, no files.

A model trained on streams carries its state from character to character. A model trained on windows
never saw more than ``seq_len`` characters after a zero state, so it is given the same: for each of
the last ``seq_len`` characters there is a reader that began with it, all of them read on side by side,
and the one that began first predicts. That is the window read anew for every character, with one
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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxchar.ambient import random_key
from jaxchar.config import DrawConfig
from jaxchar.model.char_rnn import CharRNN
from jaxchar.sampling.decoder import Context, Reader, StreamContext, WindowContext
from jaxchar.sampling.filters import Controls, draw
from jaxchar.sampling.native_decoder import NativeReader

FIRST_PIECE = 8  # characters: the first ones come at once
MOST_PIECE = 4096  # characters a call at the most
PIECE_SECONDS = 0.04  # how long a call should last, which bounds the wait for the next piece
NOISE_ROWS = 64  # characters whose noise is drawn in one go,
NOISE_NUMBERS = 1 << 16  # or as many as take so many numbers, where the vocabulary is large
READ_CHARS = 128  # of a prompt, a call: one compilation serves prompts of any lengths


def text_keys(seed: int, numbers: Sequence[int]) -> jax.Array:
    """Return the keys of some texts of a batch, [B]; number 0 is a text drawn alone.

    The others are counted from the end, where no character's number ever comes.
    """
    return _text_keys(random_key(seed), np.array(numbers, np.uint32))


@jax.jit
def _text_keys(key: jax.Array, numbers: jax.Array) -> jax.Array:
    from_the_end = jax.vmap(partial(jax.random.fold_in, key))(-numbers)
    return jnp.where(numbers == 0, key, from_the_end)


# ---- many characters -----------------------------------------------------------------------------

AnyReader = Reader | NativeReader


class Generator:
    """The compiled sampler of one model, for any parameters, prompts and controls."""

    def __init__(self, graphdef: nnx.GraphDef, window: int | None, together: bool | None = None) -> None:
        """Prepare; nothing is compiled before the first use.

        Args:
            graphdef: the model's structure.
            window: seq_len of a model trained on windows; None for one that carries its state.
            together: whether the rows of a batch share their products in JAX; None: not on a CPU, where
                it is done in C++ if that can be had.
        """
        try_native = together is None
        if together is None:
            together = jax.default_backend() != "cpu"
        self._window = window
        self._for_each_text = _all_at_once if together else _one_after_another
        self._prepare = jax.jit(lambda params: _reader_of(nnx.merge(graphdef, params), try_native))
        self._read = jax.jit(self._read_texts)
        self._follow = jax.jit(self._follow_texts)
        self._advance = jax.jit(self._draw_pieces, static_argnames="filters")

    def prepare(self, params: nnx.State) -> AnyReader:
        """Return the model's weights as sampling needs them."""
        return self._prepare(params)

    # ---- one text --------------------------------------------------------------------------------

    def context(self, params: nnx.State, prompt: np.ndarray) -> Context:
        """Return what the model knows after reading a prompt, [N] ids with N at least 1."""
        return _row(self.contexts(self.prepare(params), [prompt]), 0)

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
        config = DrawConfig(temperature=temperature)
        for ids, _ in self.pieces(self.prepare(params), batched([context]), key[None], length, config):
            yield ids[0]

    # ---- many texts ------------------------------------------------------------------------------

    def contexts(self, reader: AnyReader, prompts: Sequence[np.ndarray]) -> Context:
        """Return what the model knows after each of B prompts of any lengths of at least 1."""
        prompts = [np.asarray(prompt, np.int32) for prompt in prompts]
        if self._window is not None:
            prompts = [prompt[-self._window :] for prompt in prompts]
        begun = self._begun(reader, np.array([prompt[0] for prompt in prompts], np.int32))
        return self.extended(reader, begun, [prompt[1:] for prompt in prompts])

    def extended(self, reader: AnyReader, contexts: Context, texts: Sequence[np.ndarray]) -> Context:
        """Return the B contexts after each has read on, the ids of a text, [N] with any N, each."""
        for slices, lengths in _in_slices(texts):
            contexts = self._read(reader, contexts, slices, lengths)
        return contexts

    def pieces(
        self,
        reader: AnyReader,
        contexts: Context,
        keys: jax.Array,
        length: int,
        config: DrawConfig,
        *,
        start: int = 0,
        going: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, Context]]:
        """Draw ``length`` new characters of B texts, some at a time.

        Neither the pieces nor the length asked for nor the other texts change which characters come.

        Args:
            reader: see :meth:`prepare`.
            contexts: of B texts.
            keys: [B], one a text.
            length: characters to draw.
            config: how to draw them.
            start: the first one's number n: it is drawn with ``fold_in(key, n)``.
            going: [B] bool; a text that the caller sets to False on the way is drawn no further, and
                its ids mean nothing from then on.

        Yields:
            ids [B, n] and the contexts after them.
        """
        controls, done, count = Controls.of(config), 0, FIRST_PIECE
        while done < length:
            count = min(count, length - done)
            counts = np.full(len(keys), count, np.int32) if going is None else count * going.astype(np.int32)
            started = time.perf_counter()
            contexts, ids = self._advance(
                reader, contexts, keys, np.int32(start + done), counts, controls, filters=config.filters
            )
            drawn = np.asarray(ids)[:, :count]
            seconds = time.perf_counter() - started
            yield drawn, contexts
            done += count
            count = max(1, min(4 * count, MOST_PIECE, round(PIECE_SECONDS * count / seconds)))
            beyond = (start + done + count) % _noise_rows(reader.num_symbols)
            count -= beyond if 2 * beyond <= count else 0  # no noise shall be drawn for two pieces

    def followed(self, reader: AnyReader, contexts: Context, text: np.ndarray) -> tuple[np.ndarray, Context]:
        """Read on in one text; return the logits before each of its characters and after the last.

        Args:
            reader: see :meth:`prepare`.
            contexts: of B = 1 text.
            text: [N] ids, with any N.

        Returns:
            [N + 1, V], and the contexts after the text.
        """
        before_each = []
        for slices, lengths in _in_slices([text]):
            contexts, logits = self._follow(reader, contexts, slices, lengths)
            before_each.append(np.asarray(logits)[0, : lengths[0]])
        _, after = self._follow(reader, contexts, *_ANY_CHARACTER)
        return np.concatenate([*before_each, np.asarray(after)[0, :1]]), contexts

    def _begun(self, reader: AnyReader, first: np.ndarray) -> Context:
        """Return the contexts of texts of one character each, [B] ids."""
        rows = (len(first), self._window or 1)
        carry = jax.tree.map(lambda part: jnp.zeros((*rows, part.shape[1])), reader.zero_carry)
        last = jnp.asarray(first)
        context: Context = StreamContext(carry, last)
        if self._window is not None:
            context = WindowContext(carry, jnp.zeros_like(last), last)
        # Where the weights were put: JAX compiles again for an array that is only by default there.
        return jax.device_put(context, reader.table.sharding)

    def _read_texts(
        self, reader: AnyReader, contexts: Context, texts: jax.Array, lengths: jax.Array
    ) -> Context:
        if isinstance(reader, NativeReader):
            return reader.read(contexts, texts, lengths)

        def read(context: Context, text: jax.Array, length: jax.Array) -> Context:
            return lax.fori_loop(
                0, length, lambda i, context: reader.predict(context)[1]._replace(last=text[i]), context
            )

        return self._for_each_text(read, contexts, texts, lengths)

    def _follow_texts(
        self, reader: AnyReader, contexts: Context, texts: jax.Array, lengths: jax.Array
    ) -> tuple[Context, jax.Array]:
        if isinstance(reader, NativeReader):
            return reader.follow(contexts, texts, lengths)
        return self._for_each_text(partial(_follow_text, reader), contexts, texts, lengths)

    def _draw_pieces(
        self,
        reader: AnyReader,
        contexts: Context,
        keys: jax.Array,
        start: jax.Array,
        counts: jax.Array,
        controls: Controls,
        filters: bool,
    ) -> tuple[Context, jax.Array]:
        """Draw ``counts`` [B] characters, MOST_PIECE at the most, the first of which is number ``start``."""
        if isinstance(reader, NativeReader):
            return _draw_side_by_side(reader, contexts, keys, start, counts, controls, filters)

        def draw_piece(context: Context, key: jax.Array, count: jax.Array) -> tuple[Context, jax.Array]:
            return _draw_piece(reader, context, key, start, count, partial(draw, filters=filters), controls)

        return self._for_each_text(draw_piece, contexts, keys, counts)


def _reader_of(model: CharRNN, try_native: bool) -> AnyReader:
    native_reader = NativeReader.of(model) if try_native else None
    return native_reader or Reader.of(model)


def _noise_rows(num_symbols: int) -> int:
    """Return for how many characters noise is drawn in one go.

    Character n's lies always in row n mod that: its bits depend on nothing but key and n, not even on how
    the processor treats the last rows.
    """
    return max(1, min(NOISE_ROWS, NOISE_NUMBERS // num_symbols))


def _noise(key: jax.Array, first: jax.Array, num_symbols: int) -> jax.Array:
    """Return the Gumbel noise of a text's characters from number ``first`` on: [rows, V]."""
    numbers = first + jnp.arange(_noise_rows(num_symbols))
    return jax.vmap(lambda n: jax.random.gumbel(jax.random.fold_in(key, n), (num_symbols,)))(numbers)


def _draw_piece(
    reader: Reader,
    context: Context,
    key: jax.Array,
    start: jax.Array,
    count: jax.Array,
    draw: Callable[..., jax.Array],
    controls: Controls,
) -> tuple[Context, jax.Array]:
    """Draw ``count`` characters of one text; return them as [MOST_PIECE] ids, the rest zeros."""
    num_symbols, stop = reader.num_symbols, start + count
    rows = _noise_rows(num_symbols)

    def draw_block(block: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
        first = block * rows
        noise = _noise(key, first, num_symbols)

        def draw_one(n: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
            context, ids = so_far
            logits, context = reader.predict(context)
            drawn = draw(logits, noise[n - first], controls)
            return context._replace(last=drawn), ids.at[n - start].set(drawn)

        begin, end = jnp.maximum(first, start), jnp.minimum(first + rows, stop)
        return lax.fori_loop(begin, end, draw_one, so_far)

    blocks = start // rows, -(-stop // rows)
    return lax.fori_loop(*blocks, draw_block, (context, jnp.zeros(MOST_PIECE, jnp.int32)))


def _draw_side_by_side(
    reader: NativeReader,
    contexts: Context,
    keys: jax.Array,
    start: jax.Array,
    counts: jax.Array,
    controls: Controls,
    filters: bool,
) -> tuple[Context, jax.Array]:
    """Draw ``counts`` [B] characters of B texts; return [B, MOST_PIECE] ids; the rest mean nothing."""
    rows, stops = _noise_rows(reader.num_symbols), start + counts
    begin_block, end_block = start // rows, -(-jnp.max(stops) // rows)

    def noise_of(block: jax.Array) -> jax.Array:
        # Text by text, for the same bits as that of one alone.
        return lax.map(lambda key: _noise(key, block * rows, reader.num_symbols), keys)

    def draw_block(block: jax.Array, so_far: tuple[Context, jax.Array, jax.Array]) -> tuple:
        contexts, ids, noise = so_far
        begin = jnp.maximum(block * rows, start)
        lengths = jnp.maximum(jnp.minimum((block + 1) * rows, stops) - begin, 0)
        skipped = begin - block * rows
        if filters:
            contexts, drawn = _draw_filtered(reader, contexts, lengths, noise, skipped, controls)
        else:
            contexts, drawn = reader.draw(contexts, lengths, noise, controls.temperature, skipped)
        ids = lax.dynamic_update_slice(ids, drawn, (0, begin - start))
        return contexts, ids, noise_of(block + 1)  # XLA forms it on another thread meanwhile

    ids = jnp.zeros((len(keys), MOST_PIECE + rows), jnp.int32)
    so_far = contexts, ids, noise_of(begin_block)
    contexts, ids, _ = lax.fori_loop(begin_block, end_block, draw_block, so_far)
    return contexts, ids[:, :MOST_PIECE]


def _draw_filtered(
    reader: NativeReader,
    contexts: Context,
    lengths: jax.Array,
    noise: jax.Array,
    noise_begin: jax.Array,
    controls: Controls,
) -> tuple[Context, jax.Array]:
    """Draw as ``reader.draw`` does, of what the filters leave: [B, rows] ids."""
    to_read = jnp.zeros((len(lengths), 1), jnp.int32)  # whatever is read, what was drawn takes its place

    def draw_one(i: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
        contexts, drawn = so_far
        going, before = i < lengths, contexts.last
        contexts, logits = reader.follow(contexts, to_read, going.astype(jnp.int32))
        # Text by text, for the same bits as those of one alone.
        rows = logits[:, 0], noise[:, noise_begin + i]
        choice = lax.map(lambda row: draw(row[0], row[1], controls), rows)
        return contexts._replace(last=jnp.where(going, choice, before)), drawn.at[:, i].set(choice)

    drawn = jnp.zeros(noise.shape[:2], jnp.int32)
    return lax.fori_loop(0, jnp.max(lengths), draw_one, (contexts, drawn))


def _follow_text(
    reader: Reader, context: Context, text: jax.Array, length: jax.Array
) -> tuple[Context, jax.Array]:
    """Read a text, [N] ids of which ``length`` count; return the logits before each: [N, V]."""

    def follow(i: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
        context, all_logits = so_far
        logits, context = reader.predict(context)
        return context._replace(last=text[i]), all_logits.at[i].set(logits)

    return lax.fori_loop(0, length, follow, (context, jnp.zeros((len(text), reader.num_symbols))))


def _one_after_another(function: Callable[..., Any], *rows: Any) -> Any:
    return lax.map(lambda row: function(*row), rows)


def _all_at_once(function: Callable[..., Any], *rows: Any) -> Any:
    return jax.vmap(function)(*rows)


def batched(contexts: Sequence[Context]) -> Context:
    """Return the contexts of B texts as one, with a leading [B] in every part."""
    return jax.tree.map(lambda *parts: jnp.stack(parts), *contexts)


def _row(contexts: Context, number: int) -> Context:
    return jax.tree.map(lambda part: part[number], contexts)


_ANY_CHARACTER = (np.zeros((1, READ_CHARS), np.int32), np.ones(1, np.int32))  # a slice of text


def _in_slices(texts: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield B texts READ_CHARS at a time: [B, READ_CHARS] ids, and how many of each row are text, [B]."""
    for start in range(0, max(map(len, texts)), READ_CHARS):
        slices = [text[start : start + READ_CHARS] for text in texts]
        ids = np.zeros((len(texts), READ_CHARS), np.int32)
        for row, piece in zip(ids, slices, strict=True):
            row[: len(piece)] = piece
        yield ids, np.array([len(piece) for piece in slices], np.int32)
