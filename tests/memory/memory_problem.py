"""A text to remember, one to read, and a gate, for the tests of the memory."""

import numpy as np

from jaxchar.memory.gate import Gate
from jaxchar.memory.text_index import ORDERS

V = 5
FEATURES, HIDDEN = 3 * len(ORDERS) + 2, 4


def random_text(num_chars: int, seed: int = 0) -> np.ndarray:
    """Return ids in which long passages come up again and again, the same ones for every seed."""
    rng = np.random.default_rng(0)
    words = [rng.integers(0, V, rng.integers(1, 30)) for _ in range(8)]
    chosen = np.random.default_rng(seed).integers(0, 8, num_chars + 1)
    return np.concatenate([words[i] for i in chosen])[:num_chars].astype(np.uint8)


def random_gate(seed: int = 0) -> Gate:
    """Return a gate that trusts each order by other features."""
    rng = np.random.default_rng(seed)
    shapes = ((FEATURES, HIDDEN), (HIDDEN,), (HIDDEN, 1 + len(ORDERS)), (1 + len(ORDERS),))
    return Gate(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def counted_plainly(text, before, order, target):
    """Return n, d and c of the last characters of a text, counted from the definition."""
    if len(before) < order:
        return 0, 0, 0
    context = list(before[len(before) - order :])
    followed = [text[p] for p in range(order, len(text)) if list(text[p - order : p]) == context]
    return len(followed), len(set(followed)), followed.count(target)
