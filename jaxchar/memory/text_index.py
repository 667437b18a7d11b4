"""The sorted contexts of a text: where every context stood, and so what followed it.

The positions of the text are sorted by the characters before them, the nearest first. So all places where the
same k characters came before lie side by side, for every k at once: they are found by binary search, and what
followed is counted. This is a suffix array of the text read backwards (Manber and Myers 1990), sorted to the
depth of the longest context that is used. A character of the text takes 4 bytes for its position, and twice
1 byte, or 2 where there are more than 256 symbols; sorting takes 32 bytes a character for a while.

Letters: N characters, K orders, C common contexts, E entries of them.
"""

from typing import NamedTuple

import numpy as np

# Lengths of the contexts that are looked up. Long ones help where a text repeats itself, see
# experiments/MEMORY.md.
ORDERS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24)
DEEPEST = ORDERS[-1]
COMMON = 512  # a context that stood in more places is counted once and for all


class TextIndex(NamedTuple):
    """The sorted contexts of a text, as the C++ library takes them."""

    text: np.ndarray  # [N] uint8 or uint16
    next: np.ndarray  # [N], the character at each of the positions
    positions: np.ndarray  # [N] int32, sorted by the characters before them, the nearest first
    orders: np.ndarray  # [K] int32, ORDERS
    # Contexts that are too common to be counted anew each time: number of the order, first of its places.
    common_keys: np.ndarray  # [C, 2] int32, sorted
    common_first: np.ndarray  # [C + 1] int32, where its entries begin
    common_symbols: np.ndarray  # [E] int32
    common_counts: np.ndarray  # [E] int32

    @classmethod
    def of(cls, ids: np.ndarray) -> "TextIndex":
        """Sort the contexts of a text, [N] ids below 65,536; N may be 0."""
        text = np.ascontiguousarray(ids, np.uint8 if ids.max(initial=0) < 256 else np.uint16)
        positions = _sorted_positions(text)
        following = text[positions]
        shared = _shared_characters(text, positions)
        keys, symbols, counts = [], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for k, order in enumerate(ORDERS):
            starts = np.flatnonzero(shared < order)
            ends = np.append(starts[1:], len(text))
            for start, end in zip(*(edge[ends - starts > COMMON] for edge in (starts, ends)), strict=True):
                found, times = np.unique(following[start:end], return_counts=True)
                keys.append((k, start))
                symbols.append(found.astype(np.int32))
                counts.append(times.astype(np.int32))
        return cls(
            text=text,
            next=following,
            positions=positions,
            orders=np.array(ORDERS, np.int32),
            common_keys=np.array(keys, np.int32).reshape(-1, 2),
            common_first=np.cumsum([0, *map(len, symbols[1:])], dtype=np.int32),
            common_symbols=np.concatenate(symbols),
            common_counts=np.concatenate(counts),
        )


def _sorted_positions(text: np.ndarray) -> np.ndarray:
    """Return all positions, [N] int32, sorted by the DEEPEST characters before them, the nearest first.

    By doubling: positions sorted by the m characters before them are sorted by 2 m through pairs of ranks.
    """
    num_chars = len(text)
    ranks = np.zeros(num_chars, np.int64)  # before the text comes the smallest symbol
    ranks[1:] = text[:-1].astype(np.int64) + 1
    depth = 1
    while depth < DEEPEST:
        further = np.zeros_like(ranks)
        further[depth:] = ranks[:-depth]
        _, ranks = np.unique(ranks * (ranks.max(initial=0) + 1) + further, return_inverse=True)
        depth *= 2
    return np.argsort(ranks, kind="stable").astype(np.int32)


def _shared_characters(text: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return how many characters before it each position shares with the one sorted before it, [N] int8.

    Counted up to DEEPEST; the first position shares -1.
    """
    shared = np.zeros(len(text), np.int8)
    shared[:1] = -1
    same = np.arange(1, len(text))
    for depth in range(1, DEEPEST + 1):
        here, there = positions[same], positions[same - 1]
        inside = (here >= depth) & (there >= depth)
        same, here, there = same[inside], here[inside], there[inside]
        same = same[text[here - depth] == text[there - depth]]
        shared[same] = depth
    return shared
