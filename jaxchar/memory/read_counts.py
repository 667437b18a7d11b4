"""What followed each context in a text that is being read: in all of it so far, and lately.

The counts of a memory tell what is usual in the remembered text. What was read a moment ago tells more of
what comes next: names of a scene, words of a chapter, variables of a function. So both are predicted from,
side by side; see :mod:`jaxchar.memory.growing`.

Letters: N characters, R orders.
"""

from typing import NamedTuple

import numpy as np

ORDERS_READ = (1, 2, 3, 4, 6)  # more of them, or longer ones, are no better: experiments/MEMORY.md
LATELY = 1_500  # characters


class ReadCounts(NamedTuple):
    """What was counted of each context before N characters, in the characters before each."""

    occurrences: np.ndarray  # [N, R] int32, how often the context was seen
    kinds: np.ndarray  # [N, R] int32, how many kinds of symbols followed
    hits: np.ndarray  # [N, R] int32, how often the character that did follow
    late_occurrences: np.ndarray  # [N, R] int32, as above, followed by one of the last LATELY characters
    late_hits: np.ndarray  # [N, R] int32


def count_read(ids: np.ndarray, lately: int = LATELY) -> ReadCounts:
    """Count what was read before each character of a text.

    Args:
        ids: [N], of the text's characters.
        lately: how many characters back is lately.
    """
    ids = np.asarray(ids, np.int64)
    columns = [_of_order(contexts, ids, order, lately) for order, contexts in _contexts(ids)]
    return ReadCounts(*(np.stack(parts, axis=1).astype(np.int32) for parts in zip(*columns, strict=True)))


def _contexts(ids: np.ndarray):
    """Yield each order, and a number for the context before each character from that order on."""
    num_symbols = int(ids.max(initial=0)) + 1
    numbers = np.zeros(len(ids), np.int64)
    for order in range(1, ORDERS_READ[-1] + 1):
        numbers = numbers[1:] * num_symbols + ids[: max(0, len(ids) - order)]
        numbers = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
        if order in ORDERS_READ:
            yield order, numbers


def _of_order(contexts: np.ndarray, ids: np.ndarray, order: int, lately: int) -> list[np.ndarray]:
    """Return the five counts of one order, each [N]; characters without so long a context have none."""
    followed = contexts * (int(ids.max(initial=0)) + 1) + ids[order:]
    occurrences, late_occurrences = _seen_before(contexts, lately)
    hits, late_hits = _seen_before(followed, lately)
    kinds = _sum_before(contexts, hits == 0)
    return [
        np.pad(counts, (min(order, len(ids)), 0))
        for counts in (occurrences, kinds, hits, late_occurrences, late_hits)
    ]


def _seen_before(values: np.ndarray, lately: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each value stood before its place, at all and among the last ones."""
    places = np.arange(len(values))
    keys = np.sort(values * (len(values) + 1) + places)  # sorted by value, then by place
    rank = np.searchsorted(keys, values * (len(values) + 1) + places)
    first = np.searchsorted(keys, values * (len(values) + 1))
    late = np.searchsorted(keys, values * (len(values) + 1) + np.maximum(places - lately, 0))
    return rank - first, rank - late


def _sum_before(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return at how many places with the same value before each something is counted."""
    by_value = np.argsort(values, kind="stable")
    running = np.cumsum(counted[by_value]) - counted[by_value]
    first = np.searchsorted(values[by_value], values[by_value])
    sums = np.empty(len(values), np.int64)
    sums[by_value] = running - running[first]
    return sums
