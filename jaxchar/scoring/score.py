"""What a model makes of a text: each character's surprise, and the figures that sum them up.

The surprise of a character is -ln of the probability that the model gave it, in nats; the loss is the
mean surprise. What stands here is for evaluation: training adds up its own totals, see
:mod:`jaxchar.model.loss`.

Letters: P predictions, V vocabulary, K steps a call; the others as in :mod:`jaxchar.data.batches`.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from jaxchar.ambient import random_key
from jaxchar.data.batches import Blocks, Streams, Windows
from jaxchar.model.loss import bits_per_char
from jaxchar.model.predictions import logits_of_targets
from jaxchar.tracing import platform_of, traced_for

Protocol = Windows | Streams | Blocks

CALL_PREDICTIONS = 1 << 20  # predictions a call returns at the most, which bounds the memory
PASS_CHARS = 128  # characters a step of a single pass reads
WINDOW_ROWS = 128  # windows read side by side, at the most
WINDOW_CHARS = 1 << 15  # and so many characters of them
CONFIDENCE = 0.95
BLOCKS = 10  # of an interval
MOST_LOSS = 700.0  # nats; beyond it the perplexity is no number


class Predictions(NamedTuple):
    """The predictions of a text's characters, in the order of the text.

    Windows that overlap predict a character several times; the first of these had the most to go by.
    """

    positions: np.ndarray  # [P] int32, place of the predicted character in the text
    surprises: np.ndarray  # [P] float32, nats
    ranks: np.ndarray  # [P] int32, 1 where the model thought it the most probable
    # Of each prediction, what a memory's gate goes by; nobody else needs it.
    entropies: np.ndarray = np.empty(0, np.float32)  # [P], nats
    largest: np.ndarray = np.empty(0, np.float32)  # [P], the largest log-probability


# ---- predicting ----------------------------------------------------------------------------------


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


def columns_of(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, ...]:
    """Return surprises, ranks, entropies and largest log-probabilities, [...], of targets under [..., V]."""
    surprises = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    logs = jax.nn.log_softmax(logits)
    entropies, largest = -jnp.sum(jnp.exp(logs) * logs, axis=-1), jnp.max(logs, axis=-1)
    return surprises, _ranks(logits, targets), entropies, largest


def _ranks(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return 1 + how many characters come before the target; of equals, as argmax has it, the lower id."""
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)
    ids = jnp.arange(logits.shape[-1])
    behind = (logits < chosen) | ((logits == chosen) & (ids >= targets[..., None]))
    return 1 + jnp.sum(~behind, axis=-1, dtype=jnp.int32)


# ---- summing up ----------------------------------------------------------------------------------


class Estimate(NamedTuple):
    """A mean, and the ends of its confidence interval; NaN where there is too little text for one."""

    value: float
    low: float
    high: float


class Evaluation(NamedTuple):
    """How well a model predicts a text: exact for this text, with intervals for text like it.

    What follows one another in a text is not independent, so the intervals are those of batch means:
    the text is cut into ten blocks of consecutive characters, and the standard error is taken from how
    far the blocks lie from the mean, times Student's t. Ten to thirty blocks is what Schmeiser (1982,
    "Batch size effects in the analysis of simulation output") found to do; ten, because the surprise
    of characters is correlated over thousands of them. Where the parts of a corpus differ (plays,
    authors), one contiguous split cannot know by how much, and the intervals are too narrow for that.
    """

    loss: Estimate  # nats per character
    accuracy: Estimate  # share of predictions whose most probable character was right
    top5_accuracy: Estimate  # share whose five most probable held the right one
    predictions: int
    block_chars: int  # characters a block, in the mean
    blocks: int

    @classmethod
    def of(cls, predictions: Predictions, protocol: Protocol) -> "Evaluation":
        """Sum up what :func:`predict` returned for a protocol, at least one prediction."""
        surprises, ranks = predictions.surprises, predictions.ranks
        blocks, spread = consecutive_blocks(predictions.positions, protocol)
        number = int(blocks.max()) + 1
        return cls(
            loss=mean_with_interval(surprises, blocks),
            accuracy=mean_with_interval(ranks == 1, blocks),
            top5_accuracy=mean_with_interval(ranks <= 5, blocks),
            predictions=len(surprises),
            block_chars=spread // number,
            blocks=number,
        )

    @property
    def bits_per_char(self) -> Estimate:
        """The loss in bits."""
        return Estimate(*map(bits_per_char, self.loss))

    @property
    def perplexity(self) -> Estimate:
        """The exponential of the loss."""
        return Estimate(*(math.exp(min(loss, MOST_LOSS)) for loss in self.loss))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: the figures, and under "interval" the ends for each, or null."""
        names = ("loss", "bits_per_char", "perplexity", "accuracy", "top5_accuracy")
        estimates: dict[str, Estimate] = {name: getattr(self, name) for name in names}
        ends: dict[str, Any] = {name: [x.low, x.high] for name, x in estimates.items()}
        about = {"confidence": CONFIDENCE, "block_chars": self.block_chars, "blocks": self.blocks}
        return {
            **{name: estimate.value for name, estimate in estimates.items()},
            "predictions": self.predictions,
            "interval": {**about, **ends} if self.blocks > 1 else None,
        }


def consecutive_blocks(positions: np.ndarray, protocol: Protocol) -> tuple[np.ndarray, int]:
    """Return the block of each predicted position, [P], from 0, and how many characters they span."""
    # A cold block begins with a surprise, so it is not torn apart.
    period = protocol.seq_len if isinstance(protocol, Blocks) else 1
    spread = int(positions[-1] - positions[0]) + 1
    units = -(-spread // period)
    number = min(BLOCKS, units)
    return (positions.astype(np.int64) - positions[0]) // period * number // units, spread


def mean_with_interval(values: np.ndarray, blocks: np.ndarray) -> Estimate:
    """Return the mean of values and its interval by batch means.

    With sums s_b and counts c_b of n blocks, and the mean m = sum s / sum c, the standard error is
    sqrt(n / (n - 1) sum (s_b - m c_b)^2) / sum c, which for blocks of one size is the standard
    deviation of the blocks' means over sqrt(n).

    Args:
        values: [P].
        blocks: [P], the block of each value, from 0; a block without values is no block.
    """
    from scipy.special import stdtrit  # a fifth of a second that training and sampling need not wait for

    sums, counts = np.bincount(blocks, values), np.bincount(blocks)
    mean = float(sums.sum() / len(values))
    n = np.count_nonzero(counts)
    if n < 2:
        return Estimate(mean, math.nan, math.nan)
    variance = n / (n - 1) * np.sum((sums - mean * counts) ** 2) / len(values) ** 2
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * np.sqrt(variance))
    return Estimate(mean, mean - half, mean + half)


# ---- one text ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """What a model makes of one text; ``zip(score.text, score.surprises)`` goes through it."""

    context: str  # what the model had read before
    text: str  # the characters that were predicted
    surprises: np.ndarray  # [len(text)] float32, nats
    ranks: np.ndarray  # [len(text)] int32, 1 where the model thought it the most probable
    replaced: int = 0  # characters that the model lacks and another one stands for
    left_out: int = 0  # characters that the model lacks and that are not in the text

    @property
    def loss(self) -> float:
        """The mean surprise, nats per character."""
        return float(self.surprises.mean(dtype=np.float64))

    @property
    def bits_per_char(self) -> float:
        """The loss in bits."""
        return bits_per_char(self.loss)

    @property
    def perplexity(self) -> float:
        """The exponential of the loss."""
        return math.exp(min(self.loss, MOST_LOSS))

    @property
    def accuracy(self) -> float:
        """Share of characters that the model thought the most probable."""
        return float((self.ranks == 1).mean())

    @property
    def probabilities(self) -> np.ndarray:
        """What each character was given, [len(text)] float32."""
        return np.exp(-self.surprises)

    def __len__(self) -> int:
        return len(self.text)

    def __repr__(self) -> str:
        context = self.context if len(self.context) <= 20 else "..." + self.context[-17:]
        return (
            f"Score(loss={self.loss:.4f}, bits_per_char={self.bits_per_char:.4f}, "
            f"accuracy={self.accuracy:.4f}, {len(self):,} characters after {context!r})"
        )
