"""Sampling: from a prompt's ids to new ids, many characters a call. Pure: no printing, no files.

A model trained on streams carries its state from character to character. A model trained on windows
never saw more than ``seq_len`` characters after a zero state, so it is given the same: the window of
the last ``seq_len`` characters slides along, and is read anew from a zero state for every character.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxchar.model import CharRNN
from jaxchar.unroll import Carry

CHUNK = 64  # characters a call at the most; it bounds how long a reader waits for the next ones
FIRST_CHUNK = 8


class StreamContext(NamedTuple):
    """What a stateful model needs to know of the text so far."""

    carry: tuple[Carry, ...]  # after all characters but the last
    last: jax.Array  # [] int32, the last character's id


class WindowContext(NamedTuple):
    """What a windowed model needs to know of the text so far."""

    ids: jax.Array  # [T] int32; only the first `filled` are text
    filled: jax.Array  # [] int32, at least 1


Context = StreamContext | WindowContext


def draw(logits: jax.Array, key: jax.Array, temperature: jax.Array) -> jax.Array:
    """Draw an id from softmax(logits / temperature), [V]; temperature 0 takes the most probable."""
    below_best = logits - jnp.max(logits)  # 0 at the most: no temperature makes it overflow upwards
    drawn = jax.random.categorical(key, below_best / jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny))
    return jnp.where(temperature == 0, jnp.argmax(logits), drawn).astype(jnp.int32)


class Generator:
    """The compiled sampler of one model, for any parameters, prompt and temperature."""

    def __init__(self, graphdef: nnx.GraphDef, window: int | None) -> None:
        """Prepare; nothing is compiled before the first use.

        Args:
            graphdef: the model's structure.
            window: seq_len of a model trained on windows; None for one that carries its state.
        """
        self._graphdef = graphdef
        self._window = window
        self._read = jax.jit(self._read_prompt)
        self._advance = jax.jit(self._draw_several)

    def ids(
        self,
        params: nnx.State,
        context: Context,
        length: int,
        *,
        temperature: float = 1.0,
        key: jax.Array,
    ) -> Iterator[np.ndarray]:
        """Yield the ids of ``length`` new characters, some at a time.

        Character n is drawn with ``fold_in(key, n)``: neither the pieces nor the length asked for
        change which characters come.
        """
        done = 0
        while done < length:
            count = min(CHUNK if done else FIRST_CHUNK, length - done)
            context, ids = self._advance(
                params, context, key, np.int32(done), np.int32(count), np.float32(temperature)
            )
            yield np.asarray(ids)[:count]
            done += count

    def context(self, params: nnx.State, prompt: np.ndarray) -> Context:
        """Return what the model knows after reading a prompt, [N] ids with N at least 1."""
        prompt = np.asarray(prompt, np.int32)
        if self._window is not None:
            kept = prompt[-self._window :]
            ids = np.zeros(self._window, np.int32)
            ids[: len(kept)] = kept
            return WindowContext(jnp.asarray(ids), jnp.int32(len(kept)))
        padded = np.zeros(_next_power_of_two(len(prompt)), np.int32)  # few lengths: few compilations
        padded[: len(prompt)] = prompt
        return self._read(params, padded, np.int32(len(prompt)))

    def _read_prompt(self, params: nnx.State, prompt: jax.Array, length: jax.Array) -> StreamContext:
        model = nnx.merge(self._graphdef, params)

        def read(i: jax.Array, carry: tuple[Carry, ...]) -> tuple[Carry, ...]:
            _, carry = model.last_logits(prompt[i][None, None], carry)
            return carry

        carry = lax.fori_loop(0, length - 1, read, model.initial_carry(1))
        return StreamContext(carry, prompt[length - 1])

    def _draw_several(
        self,
        params: nnx.State,
        context: Context,
        key: jax.Array,
        done: jax.Array,
        count: jax.Array,
        temperature: jax.Array,
    ) -> tuple[Context, jax.Array]:
        """Draw ``count`` (at most CHUNK) characters, the first of which is number ``done``."""
        model = nnx.merge(self._graphdef, params)

        def draw_one(i: jax.Array, so_far: tuple[Context, jax.Array]) -> tuple[Context, jax.Array]:
            context, ids = so_far
            logits, push = _predict(model, context)
            drawn = draw(logits, jax.random.fold_in(key, done + i), temperature)
            return push(drawn), ids.at[i].set(drawn)

        return lax.fori_loop(0, count, draw_one, (context, jnp.zeros(CHUNK, jnp.int32)))


def _predict(model: CharRNN, context: Context) -> tuple[jax.Array, Any]:
    """Return the next character's logits [V], and the function from its id to the next context."""
    if isinstance(context, StreamContext):
        logits, carry = model.last_logits(context.last[None, None], context.carry)
        return logits[0], partial(StreamContext, carry)
    logits = model.logits_at(context.filled - 1, context.ids[None], model.initial_carry(1))
    return logits[0], partial(_slide, context)


def _slide(context: WindowContext, drawn: jax.Array) -> WindowContext:
    """Add a character at the end of the window, letting the first one go where it is full."""
    window = context.ids.shape[0]
    full = context.filled == window
    ids = jnp.where(full, jnp.roll(context.ids, -1), context.ids)
    place = jnp.minimum(context.filled, window - 1)
    return WindowContext(ids.at[place].set(drawn), jnp.minimum(context.filled + 1, window))


def _next_power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
