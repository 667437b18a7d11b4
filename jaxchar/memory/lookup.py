"""Counting what followed the contexts of a text, and mixing it with a network's predictions, in NumPy.

This is the reference for ``cpp/memory.h``, which computes the same some hundred times as fast, and what runs
where there is no C++ library.

Letters: B texts, P characters, K orders, V symbols.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxchar.memory.gate import Counts, Gate
from jaxchar.memory.text_index import ORDERS, TextIndex


class Growing:
    """What was counted after one context in a text that is being read."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.total = 0
        self.new_kinds = 0  # symbols that the index had not seen after this context
        self.counts: dict[int, int] = defaultdict(int)


class Reading(NamedTuple):
    """How a text is read."""

    first: int = 0  # the first character to predict; those before it are context
    growing: bool = False  # count what was read before, too
    is_own_text: bool = False  # what is read is the index's text: a position's own occurrence is left out


def count_text(index: TextIndex, read: np.ndarray, reading: Reading) -> Counts:
    """Return the counts before each of the characters ``read[first:]``."""
    growing: dict[tuple[int, ...], Growing] = defaultdict(Growing)
    rows: list[list[tuple[int, int, int]]] = []
    for p in range(0 if reading.growing else reading.first, len(read)):
        target, row = int(read[p]), []
        for order, seen in zip(ORDERS, followers(index, read[:p]), strict=True):
            total, kinds, hits = sum(seen.values()), len(seen), seen.get(target, 0)
            if reading.is_own_text and hits:
                total, kinds, hits = total - 1, kinds - (hits == 1), hits - 1
            if reading.growing and p >= order:
                context = growing[tuple(read[p - order : p].tolist())]
                total, kinds = total + context.total, kinds + context.new_kinds
                if target in context.counts:
                    hits += context.counts[target]
                else:
                    context.new_kinds += hits == 0
                context.counts[target] += 1
                context.total += 1
            row.append((total, kinds, hits))
        if p >= reading.first:
            rows.append(row)
    table = np.array(rows, np.int32).reshape(-1, len(ORDERS), 3)
    return Counts(*(table[:, :, part] for part in range(3)))


def followers(index: TextIndex, before: np.ndarray) -> Iterator[dict[int, int]]:
    """Yield for each order how often each symbol followed the last characters of a text, [N] ids."""
    begin, end, depth = 0, len(index.text), 0
    for order in ORDERS:
        while depth < order:
            depth += 1
            if depth > len(before):
                end = begin
            if begin < end:
                begin, end = _narrowed(index, begin, end, depth, int(before[len(before) - depth]))
        symbols, counts = np.unique(index.next[begin:end], return_counts=True)
        yield dict(zip(symbols.tolist(), counts.tolist(), strict=True))


def _narrowed(index: TextIndex, begin: int, end: int, depth: int, symbol: int) -> tuple[int, int]:
    """Return the places among begin to end where this symbol stood so many characters before."""
    places = index.positions[begin:end]
    there = np.where(places >= depth, index.text[places - depth].astype(np.int64), -1)
    low, high = np.searchsorted(there, [symbol, symbol + 1])
    return begin + int(low), begin + int(high)


def mix(
    index: TextIndex, gate: Gate, before: np.ndarray, logits: np.ndarray, share: float, longest: int
) -> np.ndarray:
    """Return the logarithms of a mixture for one text, [V] float32.

    Args:
        index: of the remembered text.
        gate: gives the weights.
        before: the text's last characters, [n] ids.
        logits: [V], the network's.
        share: of the mixture, 0 to 1; the rest is the network's alone.
        longest: contexts that are longer count as not seen.
    """
    largest = logits.max()
    logs = logits - largest - np.log(np.sum(np.exp(logits - largest)))
    network = np.exp(logs)
    probability = np.full(len(logits), 1 / len(logits))
    experts, totals, kinds = [network], [], []
    for seen in followers(index, before[max(0, len(before) - longest) :]):
        n, d = sum(seen.values()), len(seen)
        if n:
            probability = probability * d / (n + d)
            probability[list(seen)] += np.array(list(seen.values())) / (n + d)
        experts.append(probability)
        totals.append(n)
        kinds.append(d)
    occurrences, different = np.array(totals, np.float32), np.array(kinds, np.float32)
    counted = [np.log1p(occurrences) / 5, np.log1p(different) / 3, occurrences > 0]
    features = np.concatenate([*counted, [-np.sum(network * logs) / 2, logs.max()]])
    sums = np.tanh(features @ gate.inner + gate.inner_bias) @ gate.outer + gate.outer_bias
    sums[1:][occurrences == 0] = -np.inf
    weights = np.exp(sums - sums.max())
    weights = share * weights / weights.sum()
    weights[0] += 1 - share
    return np.log(weights @ np.stack(experts)).astype(np.float32)
