"""What followed each context in a text that is being read: in all of it so far, and lately.

The counts of a memory tell what is usual in the remembered text. What was read a moment ago tells more of
what comes next: names of a scene, words of a chapter, variables of a function. So both are predicted from,
side by side; see :mod:`jaxchar.memory.growing`.

Letters: N characters, R orders.
"""

from collections.abc import Iterator
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
    columns = [_of_order(context, ids, order, lately) for order, context in _contexts(ids)]
    return ReadCounts(*(np.stack(parts, axis=1).astype(np.int32) for parts in zip(*columns, strict=True)))


def _contexts(ids: np.ndarray) -> Iterator[tuple[int, "_Places"]]:
    """Yield each order, and the contexts before the characters from that order on."""
    num_symbols = int(ids.max(initial=0)) + 1
    numbers = np.zeros(len(ids), np.int64)
    for order in range(1, ORDERS_READ[-1] + 1):
        context = _Places(numbers[1:] * num_symbols + ids[: max(0, len(ids) - order)])
        numbers = context.numbers()
        if order in ORDERS_READ:
            yield order, context


def _of_order(context: "_Places", ids: np.ndarray, order: int, lately: int) -> list[np.ndarray]:
    """Return the five counts of one order, each [N]; characters without so long a context have none."""
    followed = _Places(context.numbers() * (int(ids.max(initial=0)) + 1) + ids[order:])
    hits = followed.seen_before()
    counts = (
        context.seen_before(),
        context.sum_before(hits == 0),
        hits,
        context.seen_lately(lately),
        followed.seen_lately(lately),
    )
    return [np.pad(each, (min(order, len(ids)), 0)) for each in counts]


class _Places:
    """The places of each value of an array, sorted by value and then by place."""

    def __init__(self, values: np.ndarray) -> None:
        self._places = np.argsort(values, kind="stable")
        in_order = values[self._places]
        self._first = np.searchsorted(in_order, in_order)  # of the same value

    def numbers(self) -> np.ndarray:
        """Return a number below N for each value, the same for the same ones."""
        return self._at_places(self._first)

    def seen_before(self) -> np.ndarray:
        """Return how often each value stood before its place."""
        return self._at_places(np.arange(len(self._places)) - self._first)

    def seen_lately(self, lately: int) -> np.ndarray:
        """Return how often each value stood among so many places before its own."""
        start = self._first * (len(self._places) + 1)
        oldest = np.searchsorted(start + self._places, start + np.maximum(self._places - lately, 0))
        return self._at_places(np.arange(len(self._places)) - oldest)

    def sum_before(self, counted: np.ndarray) -> np.ndarray:
        """Return at how many places before each with the same value something is counted."""
        running = np.cumsum(counted[self._places]) - counted[self._places]
        return self._at_places(running - running[self._first])

    def _at_places(self, sorted_counts: np.ndarray) -> np.ndarray:
        counts = np.empty(len(self._places), np.int64)
        counts[self._places] = sorted_counts
        return counts
