"""The figures that sum up what a model makes of a text.

The surprise of a character is -ln of the probability that the model gave it, in nats; the loss is the
mean surprise. What stands here is for evaluation: training adds up its own totals, see
:mod:`jaxchar.model.loss`.

Letters: P predictions.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxchar.data.batches import Blocks
from jaxchar.model.loss import bits_per_char
from jaxchar.scoring.predictions import Predictions, Protocol

CONFIDENCE = 0.95
BLOCKS = 10  # of an interval
MOST_LOSS = 700.0  # nats; beyond it the perplexity is no number


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
