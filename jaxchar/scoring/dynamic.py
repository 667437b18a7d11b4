"""Dynamic evaluation: the network goes on learning from the text that it reads.

After every few characters, once their surprises are taken down, the weights take a step against the gradient
of these surprises, and a small one back to where they were. So a character is always predicted by weights
that never saw it. After Krause, Kahembwe, Murray and Renals (2018), "Dynamic evaluation of neural sequence
models":

    w  <-  w - RATE clip(g / (r + EPSILON m), CLIP) + RETURN (r / m) (w_0 - w)

with the gradient g, its root mean square r over training text, the mean m of all r, and the trained weights
w_0. The numbers were chosen on the end of the training text of six texts; experiments/MEMORY.md has the
tries.

Letters: N characters, P predictions, K steps a call.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxchar.config import Config
from jaxchar.data.batches import Batch, Streams
from jaxchar.errors import JaxcharError
from jaxchar.scoring.predictions import Predictions, columns_of
from jaxchar.tracing import platform_of, traced_for

STEP_CHARS = 32  # characters read between two steps
RATE = 1e-3
EPSILON = 0.1
CLIP = 10.0
RETURN = 1e-3
MEASURED_PIECES, PIECE_CHARS = 20, 1_600  # of the training text, on which gradients are measured
CALL_STEPS = 512  # steps a call, at the most: Ctrl-C waits for it


class Learned(NamedTuple):
    """What came of reading a text."""

    predictions: Predictions  # of every character but the first
    params: nnx.State  # as they are at its end


class _Reading(NamedTuple):
    """What goes through the text: the state of every layer, and the weights."""

    carry: Any
    params: nnx.State


def check_dynamic(config: Config) -> None:
    """Raise a JaxcharError if a model of these settings does not carry its state through a text."""
    if config.protocol != "stateful":
        raise JaxcharError(
            "--dynamic reads a text once, from its beginning to its end (the protocol stateful), but the "
            f"protocol is {config.protocol}; leave --dynamic out"
        )


def learn_while_reading(
    graphdef: nnx.GraphDef, params: nnx.State, ids: np.ndarray, training_ids: np.ndarray
) -> Learned:
    """Predict every character of a text from all before it, and learn from it.

    Args:
        graphdef: the model's structure.
        params: its weights; they are not changed.
        ids: [N].
        training_ids: [M], of the text that the weights were trained on. How large gradients are there decides
            how large the steps are.

    Raises:
        JaxcharError: there are fewer than two characters of the text, or of the training text.
    """
    if len(training_ids) < 2:
        raise JaxcharError(
            "--dynamic needs the training text, which says how large its steps are, but the checkpoint does "
            "not hold it; leave --dynamic out"
        )
    if len(ids) < 2:
        raise JaxcharError(
            f"a network learns from 2 characters or more, but the text has {len(ids)}; give more"
        )
    with traced_for(platform_of(params)):
        return _learned(graphdef, params, ids, training_ids)


def _learned(graphdef: nnx.GraphDef, params: nnx.State, ids: np.ndarray, training_ids: np.ndarray) -> Learned:
    typical = _typical_gradients(graphdef, params, _pieces(training_ids))
    weights = _StepSizes.of(params, typical)
    protocol = Streams(_padded_length(len(ids)), STEP_CHARS, 1, whole=True)
    padded = jnp.asarray(np.pad(ids, (0, protocol.num_chars - len(ids))))
    steps = min(CALL_STEPS, protocol.steps_per_epoch)
    reading = _Reading(nnx.merge(graphdef, params).initial_carry(1), params)
    call = partial(_read_steps, graphdef=graphdef, protocol=protocol, steps=steps)
    pieces = []
    for start in range(0, -(-(len(ids) - 1) // STEP_CHARS), steps):
        reading, records = call(reading, weights, padded, np.int32(len(ids)), np.int32(start))
        *columns, real = (np.asarray(column).reshape(-1) for column in records)
        pieces.append([column[real > 0] for column in columns])
    return Learned(Predictions(*map(np.concatenate, zip(*pieces, strict=True))), reading.params)


def _padded_length(num_chars: int) -> int:
    """Return one of few lengths, each of which is compiled once."""
    return max(2 * STEP_CHARS, 1 << (num_chars - 1).bit_length())


def _pieces(ids: np.ndarray) -> jax.Array:
    """Return evenly spaced pieces of a text as one text, or all of a short one."""
    if len(ids) > MEASURED_PIECES * PIECE_CHARS:
        starts = np.linspace(0, len(ids) - PIECE_CHARS, MEASURED_PIECES).astype(np.int64)
        ids = np.concatenate([ids[start : start + PIECE_CHARS] for start in starts])
    return jnp.asarray(ids)


class _StepSizes(NamedTuple):
    """Of each weight: what its gradient is divided by, how fast it returns, and where to."""

    divisor: nnx.State
    returning: nnx.State
    trained: nnx.State

    @classmethod
    def of(cls, params: nnx.State, typical: nnx.State) -> "_StepSizes":
        """Return them for the trained weights, and the typical sizes of their gradients."""
        sizes = jax.tree.leaves(typical)
        mean = sum(jnp.sum(size) for size in sizes) / sum(size.size for size in sizes)
        mean = jnp.maximum(mean, jnp.finfo(jnp.float32).tiny)
        return cls(
            jax.tree.map(lambda size: size + EPSILON * mean, typical),
            jax.tree.map(lambda size: jnp.minimum(1.0, RETURN * size / mean), typical),
            params,
        )

    def moved(self, params: nnx.State, gradient: nnx.State, is_text: jax.Array) -> nnx.State:
        """Return the weights after a step; where nothing was read, as they are."""

        def move(weight: jax.Array, slope: jax.Array, *sizes: jax.Array) -> jax.Array:
            divisor, returning, trained = sizes
            change = RATE * jnp.clip(slope / divisor, -CLIP, CLIP) - returning * (trained - weight)
            return (weight - jnp.where(is_text, change, 0)).astype(weight.dtype)

        return jax.tree.map(move, params, gradient, *self)


def _gradient(
    graphdef: nnx.GraphDef, reading: _Reading, batch: Batch, real: jax.Array
) -> tuple[nnx.State, Any, tuple[jax.Array, ...]]:
    """Return the gradient of the mean surprise of a batch's real targets, the carry, and its columns."""

    def loss(params: nnx.State) -> tuple[jax.Array, Any]:
        logits, carry = nnx.merge(graphdef, params)(batch.inputs, reading.carry)
        columns = columns_of(logits, batch.targets)
        return jnp.sum(columns[0] * real) / jnp.maximum(jnp.sum(real), 1), (carry, columns)

    gradient, (carry, columns) = jax.grad(loss, has_aux=True)(reading.params)
    return gradient, carry, columns


@partial(jax.jit, static_argnames=("graphdef",))
def _typical_gradients(graphdef: nnx.GraphDef, params: nnx.State, ids: jax.Array) -> nnx.State:
    """Return the root mean square of each weight's gradient over the steps through a text, [N]."""
    protocol = Streams(len(ids), min(STEP_CHARS, len(ids) - 1), 1)

    def body(state: tuple[Any, nnx.State], step: jax.Array) -> tuple[tuple[Any, nnx.State], None]:
        carry, sums = state
        batch = protocol.batch(ids, step)
        gradient, carry, _ = _gradient(graphdef, _Reading(carry, params), batch, batch.weights)
        return (carry, jax.tree.map(lambda total, slope: total + slope**2, sums, gradient)), None

    steps = protocol.steps_per_epoch
    nothing = jax.tree.map(lambda weight: jnp.zeros(weight.shape, jnp.float32), params)
    start = nnx.merge(graphdef, params).initial_carry(1), nothing
    (_, sums), _ = lax.scan(body, start, jnp.arange(steps))
    return jax.tree.map(lambda total: jnp.sqrt(total / steps), sums)


@partial(jax.jit, static_argnames=("graphdef", "protocol", "steps"))
def _read_steps(
    reading: _Reading,
    sizes: _StepSizes,
    ids: jax.Array,
    num_chars: jax.Array,
    start: jax.Array,
    *,
    graphdef: nnx.GraphDef,
    protocol: Streams,
    steps: int,
) -> tuple[_Reading, tuple[jax.Array, ...]]:
    """Return what is read and learned after K = ``steps``, and positions, columns and weights of all K."""
    places = jnp.arange(protocol.num_chars)

    def body(before: _Reading, step: jax.Array) -> tuple[_Reading, tuple[jax.Array, ...]]:
        batch = protocol.batch(ids, step)
        positions = protocol.batch(places, step).targets
        real = batch.weights * (positions < num_chars)
        gradient, carry, columns = _gradient(graphdef, before, batch, real)
        params = sizes.moved(before.params, gradient, jnp.any(real > 0))
        return _Reading(carry, params), (positions, *columns, real)

    return lax.scan(body, reading, start + jnp.arange(steps))
