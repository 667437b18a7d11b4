"""Predict the characters of a text, by one of the protocols or one by one, as sampling does.

Letters: N characters, K steps a call; the others as in :mod:`jaxchar.data.batches`.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxchar.ambient import random_key
from jaxchar.data.batches import Streams, Windows
from jaxchar.model.predictions import logits_of_targets
from jaxchar.scoring.predictions import Predictions, Protocol, columns_of
from jaxchar.tracing import platform_of, traced_for

CALL_PREDICTIONS = 1 << 20  # predictions a call returns at the most, which bounds the memory
PASS_CHARS = 128  # characters a step of a single pass reads
WINDOW_ROWS = 128  # windows read side by side, at the most
WINDOW_CHARS = 1 << 15  # and so many characters of them


def predict(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    ids: jax.Array,
    protocol: Protocol,
    num_chars: int | None = None,
) -> Predictions:
    """Return the predictions that a protocol makes over a text.

    Args:
        graphdef: the model's structure.
        params: its weights.
        ids: [N].
        protocol: how the text is cut; its ``num_chars`` is N.
        num_chars: so many of the ids are text, and the rest fills up; None: all of them are.
    """
    num_chars = protocol.num_chars if num_chars is None else num_chars
    steps = dataclasses.replace(protocol, num_chars=num_chars).steps_per_epoch
    carry = nnx.merge(graphdef, params).initial_carry(protocol.batch_size)
    call = partial(_predict_steps, graphdef=graphdef, protocol=protocol, steps=_steps_per_call(protocol))
    pieces = []
    for start in range(0, steps, _steps_per_call(protocol)):
        with traced_for(platform_of(params)):
            carry, records = call(params, ids, carry, np.int32(start))
        *columns, weights = (np.asarray(column)[: steps - start] for column in records)
        real = (weights > 0) & (columns[0] < num_chars)
        pieces.append([column[real] for column in columns])
    positions, *others = map(np.concatenate, zip(*pieces, strict=True))
    order = np.argsort(positions, kind="stable")
    return Predictions(positions[order], *(column[order] for column in others))


def predict_one_by_one(
    graphdef: nnx.GraphDef, params: nnx.State, ids: np.ndarray, window: int | None
) -> Predictions:
    """Predict every character of a text but the first from what comes before it, as sampling does.

    Args:
        graphdef: the model's structure.
        params: its weights.
        ids: [N], N at least 2.
        window: how many characters a prediction may look back on; None: on all.
    """
    num_chars = len(ids)
    padded = np.zeros(1 << (num_chars - 1).bit_length(), ids.dtype)  # few lengths: few compilations
    padded[:num_chars] = ids
    opening = padded if window is None else padded[:window]
    parts = []
    if len(opening) > 1:
        single_pass = Streams(len(opening), min(PASS_CHARS, len(opening) - 1), 1, whole=True)
        text_chars = min(num_chars, len(opening))
        parts.append(predict(graphdef, params, jnp.asarray(opening), single_pass, text_chars))
    if window is not None and num_chars > window:
        rows = max(1, min(WINDOW_ROWS, WINDOW_CHARS // window))
        sliding = Windows(len(padded), window, rows, return_sequences=False)
        parts.append(predict(graphdef, params, jnp.asarray(padded), sliding, num_chars))
    return Predictions(*map(np.concatenate, zip(*parts, strict=True)))


def _steps_per_call(protocol: Protocol) -> int:
    """Return K: as few calls as CALL_PREDICTIONS allows, all of the same length."""
    per_step = protocol.batch_size * protocol.seq_len
    calls = -(-protocol.steps_per_epoch * per_step // CALL_PREDICTIONS)
    return -(-protocol.steps_per_epoch // calls)


@partial(jax.jit, static_argnames=("graphdef", "protocol", "steps"))
def _predict_steps(
    params: nnx.State,
    ids: jax.Array,
    carry: Any,
    start: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    protocol: Protocol,
    steps: int,
) -> tuple[Any, tuple[jax.Array, ...]]:
    """Return the carry after K = ``steps``, and the columns of :class:`Predictions` and weights of all K.

    They are [K, B, T], or [K, B] with one target after each window.
    """
    model = nnx.merge(graphdef, params)
    no_key = random_key(0)  # no protocol shuffles
    places = jnp.arange(protocol.num_chars)  # read as if they were ids, they say where each target stands
    stateful = isinstance(protocol, Streams)

    def body(before: Any, step: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
        batch = protocol.batch(ids, step, no_key)
        logits, after = logits_of_targets(model, batch)(batch.inputs, before)
        positions = protocol.batch(places, step, no_key).targets
        columns = positions, *columns_of(logits, batch.targets), batch.weights
        return after if stateful else before, columns

    return lax.scan(body, carry, start + jnp.arange(steps))
