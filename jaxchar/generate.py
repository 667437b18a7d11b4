"""Sampling: from a prompt's ids to new ids, many characters a call. Pure: no printing, no files.

A model trained on streams carries its state from character to character. A model trained on windows
never saw more than ``seq_len`` characters after a zero state, so it is given the same: for each of
the last ``seq_len`` characters there is a reader that began with it, all of them read on side by side,
and the one that began first predicts. That is the window read anew for every character, with one
product of ``seq_len`` rows where reading it again would need ``seq_len`` products one after another.

One key is one text. Character n of a text is drawn with ``fold_in(key, n)``, and text j of a batch
has the key :func:`text_key` (seed, j). On a CPU the rows of a batch are drawn one after another by
the very instructions that draw a single one: a product of more rows adds in another order, and the
last bit would now and then choose another character. It costs about what the texts cost alone (see
experiments/measurements/sampling_speed.py). On other devices a batch is one product for all rows, many times
faster there, and a row equals the text drawn alone as far as rounding lets it.

Letters: B texts, R rows read side by side, T characters a window, V vocabulary size, H hidden size.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxchar.config import DrawConfig
from jaxchar.reader import Reader
from jaxchar.unroll import Carry

FIRST_PIECE = 8  # characters: the first ones come at once
PAIRWISE_SYMBOLS = 256  # up to so many, comparing all with all is faster than sorting
MOST_PIECE = 1024  # characters a call at the most
PIECE_SECONDS = 0.03  # how long a call should last, which bounds the wait for the next piece
NOISE_ROWS = 64  # characters whose noise is drawn in one go,
NOISE_NUMBERS = 1 << 16  # or as many as take so many numbers, where the vocabulary is large
READ_CHARS = 128  # of a prompt, a call: one compilation serves prompts of any lengths


class StreamContext(NamedTuple):
    """What a stateful model needs to know of the text so far."""

    carry: tuple[Carry, ...]  # [1, H] each part: after all characters but the last
    last: jax.Array  # [] int32, the last character's id


class WindowContext(NamedTuple):
    """What a windowed model needs to know of the text so far."""

    carry: tuple[Carry, ...]  # [T, H] each part: the readers', after all characters but the last
    place: jax.Array  # [] int32: of the reader that begins with the last character
    last: jax.Array  # [] int32, the last character's id


Context = StreamContext | WindowContext  # of one text; with a leading [B] in every part, of many


# ---- one character -------------------------------------------------------------------------------


class Controls(NamedTuple):
    """The numbers of a :class:`DrawConfig` as the compiled program takes them."""

    temperature: Any  # [] float32
    top_k: Any  # [] int32
    top_p: Any  # [] float32
    min_p: Any  # [] float32

    @classmethod
    def of(cls, config: DrawConfig) -> "Controls":
        """Return the numbers of a configuration."""
        return cls(
            np.float32(config.temperature),
            np.int32(config.top_k),
            np.float32(config.top_p),
            np.float32(config.min_p),
        )


def draw(logits: jax.Array, noise: jax.Array, controls: Controls, filters: bool = True) -> jax.Array:
    """Draw an id from what the controls leave of ``softmax(logits / temperature)``.

    The largest sum of a scaled logit and Gumbel noise falls on a character with its softmax probability
    (Gumbel 1954; Maddison, Tarlow and Minka 2014). Here both are taken times the temperature, so that a
    temperature of 0 needs no case of its own: it leaves no noise, and the most probable character.

    Args:
        logits: [V].
        noise: [V] Gumbel noise.
        controls: temperature and filters.
        filters: False promises that no filter is on, and saves looking for what it leaves out.

    Returns:
        [] int32.
    """
    if filters:
        below_best = logits - jnp.max(logits)  # 0 at the most: no temperature makes it overflow upwards
        scaled = below_best / jnp.maximum(controls.temperature, jnp.finfo(jnp.float32).tiny)
        logits = jnp.where(left_by_filters(scaled, controls), logits, -jnp.inf)
    return jnp.argmax(logits + controls.temperature * noise).astype(jnp.int32)


def left_by_filters(scaled: jax.Array, controls: Controls) -> jax.Array:
    """Return which characters the filters leave, [V] bool.

    In this order: temperature first (it is in ``scaled``), then

    top-k  the k most probable characters (Fan, Lewis and Dauphin 2018);
    top-p  of these, renormalised, the fewest most probable ones whose probabilities add up to at
           least p: the nucleus (Holtzman et al. 2020);
    min-p  of these, the ones with at least p times the probability of the most probable character
           (Nguyen et al. 2024).

    Characters exactly as probable as the last one that is left are left, too: a filter has no reason
    to prefer one of them. The most probable character is always left.

    Args:
        scaled: [V] logits over the temperature, the largest of them 0.
        controls: top_k 0, top_p 1 and min_p 0 leave everything.
    """
    shares = jnp.exp(scaled)
    number_ahead = _sum_over_more_probable(scaled, jnp.ones_like(scaled))
    share_ahead = _sum_over_more_probable(scaled, shares)  # where top-k leaves a character, all are left
    left = (number_ahead < controls.top_k) | (controls.top_k == 0)
    in_nucleus = share_ahead < controls.top_p * jnp.sum(shares, where=left)
    left &= in_nucleus | (controls.top_p >= 1)
    return left & (scaled >= jnp.log(controls.min_p))


def _sum_over_more_probable(scaled: jax.Array, weights: jax.Array) -> jax.Array:
    """Return, for each character, the sum of the weights of all that are more probable, [V]."""
    if len(scaled) <= PAIRWISE_SYMBOLS:
        return jnp.sum(jnp.where(scaled[None, :] > scaled[:, None], weights[None, :], 0), axis=1)
    order = jnp.argsort(-scaled)
    ahead = jnp.cumsum(weights[order]) - weights[order]
    return ahead[jnp.searchsorted(-scaled[order], -scaled)]  # of equals, the first: none is ahead of another


def predict(reader: Reader, context: Context) -> tuple[jax.Array, Context]:
    """Read the last character: return the next one's logits, [V], and the context that awaits it."""
    if isinstance(context, StreamContext):
        features, carry = reader.read(context.last[None], context.carry)
        return reader.logits(features)[0], StreamContext(carry, context.last)
    window = jax.tree.leaves(context.carry)[0].shape[0]
    carry = jax.tree.map(lambda part: part.at[context.place].set(0), context.carry)
    features, carry = reader.read(context.last[None], carry)
    # The next to begin takes the place of the one that began first. In a text shorter than the window
    # that place has never been taken: from a zero state it has read the text from its first character.
    place = (context.place + 1) % window
    return reader.logits(features[place][None])[0], WindowContext(carry, place, context.last)


def text_key(seed: int, number: int = 0) -> jax.Array:
    """Return the key of text ``number`` of a batch; number 0 is a text drawn alone.

    The others are counted from the end, where no character's number ever comes.
    """
    key = jax.random.key(seed)
    return jax.random.fold_in(key, 2**32 - number) if number else key


# ---- many characters -----------------------------------------------------------------------------


class Generator:
    """The compiled sampler of one model, for any parameters, prompts and controls."""

    def __init__(self, graphdef: nnx.GraphDef, window: int | None, together: bool | None = None) -> None:
        """Prepare; nothing is compiled before the first use.

        Args:
            graphdef: the model's structure.
            window: seq_len of a model trained on windows; None for one that carries its state.
            together: whether the rows of a batch share their products; None: not on a CPU.
        """
        if together is None:
            together = jax.default_backend() != "cpu"
        self._window = window
        self._for_each_text = _all_at_once if together else _one_after_another
        self._prepare = jax.jit(lambda params: Reader.of(nnx.merge(graphdef, params)))
        self._read = jax.jit(self._read_texts)
        self._follow = jax.jit(self._follow_texts)
        self._advance = jax.jit(self._draw_pieces, static_argnames="filters")

    def prepare(self, params: nnx.State) -> Reader:
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

    def contexts(self, reader: Reader, prompts: Sequence[np.ndarray]) -> Context:
        """Return what the model knows after each of B prompts of any lengths of at least 1."""
        prompts = [np.asarray(prompt, np.int32) for prompt in prompts]
        if self._window is not None:
            prompts = [prompt[-self._window :] for prompt in prompts]
        begun = self._begun(reader, np.array([prompt[0] for prompt in prompts], np.int32))
        return self.extended(reader, begun, [prompt[1:] for prompt in prompts])

    def extended(self, reader: Reader, contexts: Context, texts: Sequence[np.ndarray]) -> Context:
        """Return the B contexts after each has read on, the ids of a text, [N] with any N, each."""
        for slices, lengths in _in_slices(texts):
            contexts = self._read(reader, contexts, slices, lengths)
        return contexts

    def pieces(
        self,
        reader: Reader,
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

    def followed(self, reader: Reader, contexts: Context, text: np.ndarray) -> tuple[np.ndarray, Context]:
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
        _, after = self._follow(reader, contexts, *_NOTHING)
        return np.concatenate([*before_each, np.asarray(after)[0, :1]]), contexts

    def _begun(self, reader: Reader, first: np.ndarray) -> Context:
        """Return the contexts of texts of one character each, [B] ids."""
        rows = (len(first), self._window or 1)
        carry = jax.tree.map(lambda part: jnp.zeros((*rows, part.shape[1])), reader.zero_carry)
        last = jnp.asarray(first)
        context: Context = StreamContext(carry, last)
        if self._window is not None:
            context = WindowContext(carry, jnp.zeros_like(last), last)
        # Where the weights were put: JAX compiles again for an array that is only by default there.
        return jax.device_put(context, reader.head.sharding)

    def _read_texts(self, reader: Reader, contexts: Context, texts: jax.Array, lengths: jax.Array) -> Context:
        def read(context: Context, text: jax.Array, length: jax.Array) -> Context:
            return lax.fori_loop(
                0, length, lambda i, context: predict(reader, context)[1]._replace(last=text[i]), context
            )

        return self._for_each_text(read, contexts, texts, lengths)

    def _follow_texts(
        self, reader: Reader, contexts: Context, texts: jax.Array, lengths: jax.Array
    ) -> tuple[Context, jax.Array]:
        return self._for_each_text(partial(_follow_text, reader), contexts, texts, lengths)

    def _draw_pieces(
        self,
        reader: Reader,
        contexts: Context,
        keys: jax.Array,
        start: jax.Array,
        counts: jax.Array,
        controls: Controls,
        filters: bool,
    ) -> tuple[Context, jax.Array]:
        """Draw ``counts`` [B] characters, MOST_PIECE at the most, the first of which is number ``start``."""

        def draw_piece(context: Context, key: jax.Array, count: jax.Array) -> tuple[Context, jax.Array]:
            return _draw_piece(reader, context, key, start, count, partial(draw, filters=filters), controls)

        return self._for_each_text(draw_piece, contexts, keys, counts)


def _draw_piece(
    reader: Reader,
    context: Context,
    key: jax.Array,
    start: jax.Array,
    count: jax.Array,
    draw: Callable[..., jax.Array],
    controls: Controls,
) -> tuple[Context, jax.Array]:
    """Draw ``count`` characters of one text; return them as [MOST_PIECE] ids, the rest zeros.

    The noise of many characters is drawn in one go. Character n's lies always in row n mod ``rows``:
    its bits depend on nothing but key and n, not even on how the processor treats the last rows.
    """
    num_symbols, stop = reader.head.shape[0], start + count
    rows = max(1, min(NOISE_ROWS, NOISE_NUMBERS // num_symbols))

    def draw_block(block: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
        first = block * rows
        numbers = first + jnp.arange(rows)
        noise = jax.vmap(lambda n: jax.random.gumbel(jax.random.fold_in(key, n), (num_symbols,)))(numbers)

        def draw_one(n: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
            context, ids = so_far
            logits, context = predict(reader, context)
            drawn = draw(logits, noise[n - first], controls)
            return context._replace(last=drawn), ids.at[n - start].set(drawn)

        begin, end = jnp.maximum(first, start), jnp.minimum(first + rows, stop)
        return lax.fori_loop(begin, end, draw_one, so_far)

    blocks = start // rows, -(-stop // rows)
    return lax.fori_loop(*blocks, draw_block, (context, jnp.zeros(MOST_PIECE, jnp.int32)))


def _follow_text(
    reader: Reader, context: Context, text: jax.Array, length: jax.Array
) -> tuple[Context, jax.Array]:
    """Read a text, [N] ids of which ``length`` count; return the logits before each: [N, V].

    The first row holds the logits before a character even where ``length`` is 0.
    """

    def follow(i: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
        context, all_logits = so_far
        logits, context = predict(reader, context)
        return context._replace(last=text[i]), all_logits.at[i].set(logits)

    first = jnp.zeros((len(text), reader.head.shape[0])).at[0].set(predict(reader, context)[0])
    return lax.fori_loop(0, length, follow, (context, first))


def _one_after_another(function: Callable[..., Any], *rows: Any) -> Any:
    return lax.map(lambda row: function(*row), rows)


def _all_at_once(function: Callable[..., Any], *rows: Any) -> Any:
    return jax.vmap(function)(*rows)


def batched(contexts: Sequence[Context]) -> Context:
    """Return the contexts of B texts as one, with a leading [B] in every part."""
    return jax.tree.map(lambda *parts: jnp.stack(parts), *contexts)


def _row(contexts: Context, number: int) -> Context:
    return jax.tree.map(lambda part: part[number], contexts)


_NOTHING = (np.zeros((1, READ_CHARS), np.int32), np.zeros(1, np.int32))  # a slice of no text


def _in_slices(texts: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield B texts READ_CHARS at a time: [B, READ_CHARS] ids, and how many of each row are text, [B]."""
    for start in range(0, max(map(len, texts)), READ_CHARS):
        slices = [text[start : start + READ_CHARS] for text in texts]
        ids = np.zeros((len(texts), READ_CHARS), np.int32)
        for row, piece in zip(ids, slices, strict=True):
            row[: len(piece)] = piece
        yield ids, np.array([len(piece) for piece in slices], np.int32)
