"""The sorted contexts of a text: where every context stood, and so what followed it.

The positions of the text are sorted by the characters before them, the nearest first. So all places where the
same k characters came before lie side by side, for every k at once: they are found by binary search, and what
followed is counted. This is a suffix array of the text read backwards (Manber and Myers 1990), sorted to the
depth of the longest context that is used. A character of the text takes 4 bytes for its position, and twice
1 byte, or 2 where there are more than 256 symbols; sorting takes 30 bytes a character for a while.

Letters: N characters, K orders, C common contexts, E entries of them.
"""

from collections.abc import Iterator
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
        keys, symbols, counts = [], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for k, start, end in _common_contexts(text, positions):
            times = np.bincount(following[start:end])
            found = np.flatnonzero(times)
            keys.append((k, start))
            symbols.append(found.astype(np.int32))
            counts.append(times[found].astype(np.int32))
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

    By their digits, the least significant first (a radix sort): NumPy sorts 16 bits in linear time.
    """
    digits, width = _digits(text)
    positions = np.arange(len(text), dtype=np.int32)
    for nearest in range(DEEPEST - width + 1, 0, -width):
        digit = digits[DEEPEST - nearest :][: len(text)]
        positions = positions[np.argsort(digit[positions], kind="stable")]
    return positions


def _digits(text: np.ndarray) -> tuple[np.ndarray, int]:
    """Return [DEEPEST + N] digits, the one before a position at DEEPEST - 1 + its number, and their width.

    A digit is as many characters as fit into 16 bits, one or two, the nearest first. Before the text comes
    the smallest symbol.
    """
    most = int(text.max(initial=0)) + 1
    symbols = np.zeros(DEEPEST + len(text), np.min_scalar_type(max(most, 256)))
    np.add(text, 1, out=symbols[DEEPEST:], dtype=symbols.dtype)
    if most >= 256:
        return symbols, 1
    symbols[1:] = symbols[1:] * 256 + symbols[:-1]
    return symbols, 2


def _common_contexts(text: np.ndarray, positions: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield the contexts that stood in more than COMMON places: number of the order, first place, end.

    What is not common does not become so by a character more: ever fewer places are looked at.
    """
    places = np.arange(len(text))
    begins = places == 0
    depth = 0
    for k, order in enumerate(ORDERS):
        while depth < order:
            depth += 1
            here = positions[places]
            symbol = text[here - depth]  # where the text has begun: any one
            begins[1:] |= (symbol[1:] != symbol[:-1]) | (here[1:] < depth) | (here[:-1] < depth)
        starts = np.flatnonzero(begins)
        sizes = np.diff(np.append(starts, len(places)))
        is_common = np.repeat(sizes > COMMON, sizes)
        for start, size in zip(places[starts[sizes > COMMON]], sizes[sizes > COMMON], strict=True):
            yield k, start, start + size
        places, begins = places[is_common], begins[is_common]
