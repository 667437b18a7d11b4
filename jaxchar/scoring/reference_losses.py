"""What a loss is worth: what others make of the same held-out text.

    uniform       every symbol of the vocabulary is equally probable
    frequencies   every symbol as often as in the training text, whatever came before it
    bzip2         a compressor that everybody has (Seward 1996; Burrows and Wheeler 1994): what the held-out
                  text adds to the size of the training text before it

All in bits per character, on the same characters that the validation loss is about.
"""

import bz2
from typing import NamedTuple

import numpy as np

BLOCK_BYTES = 900_000  # bzip2 sees so much at once, and nothing beyond
MOST_HELD_OUT_BYTES = 300_000  # of a block; the rest is for the text before


class ReferenceLosses(NamedTuple):
    """Bits per character of the held-out text."""

    uniform: float
    frequencies: float
    bzip2: float

    def to_json(self) -> dict[str, float]:
        """Return a JSON object, with figures as exact as they are meant."""
        return {name: round(value, 4) for name, value in self._asdict().items()}


def reference_losses(training: np.ndarray, held_out: np.ndarray, symbols: str) -> ReferenceLosses:
    """Return what a held-out text costs those who know nothing but statistics.

    Args:
        training: ids of the text before, [N].
        held_out: ids of the text to predict, [M], at least one.
        symbols: the character of every id.
    """
    size = len(symbols)
    counts = np.bincount(training, minlength=size) + 1.0  # a symbol never seen is possible all the same
    bits = -np.log2(counts / counts.sum())
    return ReferenceLosses(
        float(np.log2(size)), float(bits[held_out].mean()), _bzip2(training, held_out, symbols)
    )


def _bzip2(training: np.ndarray, held_out: np.ndarray, symbols: str) -> float:
    table = np.array(list(symbols))

    def encoded(ids: np.ndarray) -> bytes:
        return "".join(table[ids]).encode("utf-8", "surrogatepass")

    after = encoded(held_out[:MOST_HELD_OUT_BYTES])[:MOST_HELD_OUT_BYTES]
    before = encoded(training[-BLOCK_BYTES:])[-(BLOCK_BYTES - len(after)) :]
    characters = len(after.decode("utf-8", "ignore"))
    added = len(bz2.compress(before + after)) - len(bz2.compress(before))
    return 8 * added / max(characters, 1)
