"""A text cut into documents, in ids: where each ends, in which order they lie, and which are held out.

A document ends with its separator, a line break for instance, so whatever comes after a separator begins a
document. Separators that follow one another at once end one document: blank lines make no empty ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Cut(NamedTuple):
    """A text cut into documents."""

    ids: np.ndarray  # [N], the last document ended by a separator, too
    bounds: np.ndarray  # [D + 1] int64: document d is ids[bounds[d] : bounds[d + 1]]


def cut_into_documents(ids: np.ndarray, separator: np.ndarray) -> Cut:
    """Cut a text, [N] ids, behind every separator, [K] ids; end the last document if nothing ends it."""
    ends = _separator_ends(ids, separator)
    if len(ends) == 0 or ends[-1] < len(ids):
        ids = np.concatenate([ids, _missing_end(ids, separator)])
        ends = _separator_ends(ids, separator)  # anew: what was added may touch a separator
    return Cut(ids, np.concatenate([[0], ends]))


def _separator_ends(ids: np.ndarray, separator: np.ndarray) -> np.ndarray:
    """Return where each separator, or row of separators that touch or overlap, ends."""
    matches = ids[: len(ids) - len(separator) + 1] == separator[0]
    for place, symbol in enumerate(separator[1:], start=1):
        matches &= ids[place : len(ids) - len(separator) + 1 + place] == symbol
    starts = np.flatnonzero(matches)
    ends = starts + len(separator)
    return ends[np.append(starts[1:] > ends[:-1], True)] if len(ends) else ends


def _missing_end(ids: np.ndarray, separator: np.ndarray) -> np.ndarray:
    """Return what of the separator the end of the text still lacks."""
    begun = next(
        n for n in range(len(separator) - 1, -1, -1) if np.array_equal(ids[len(ids) - n :], separator[:n])
    )
    return separator[begun:].astype(ids.dtype)


def rearranged(cut: Cut, order: np.ndarray) -> Cut:
    """Return the documents in another order."""
    pieces = [
        cut.ids[start:stop] for start, stop in zip(cut.bounds[order], cut.bounds[order + 1], strict=True)
    ]
    return Cut(np.concatenate(pieces), np.concatenate([[0], np.cumsum(np.diff(cut.bounds)[order])]))


def shares(bounds: np.ndarray, fractions: Sequence[float]) -> list[int]:
    """Return how many of the last documents make each share of the characters, the end's share first.

    Every fraction above 0 gets the number of documents that comes nearest to it, and at least one.
    """
    counts, stop = [], len(bounds) - 1
    for fraction in fractions:
        count = 0
        if fraction > 0:
            wanted = bounds[stop] - fraction * bounds[-1]
            count = max(1, stop - int(np.argmin(np.abs(bounds[: stop + 1] - wanted))))
        count = min(count, stop)
        counts.append(count)
        stop -= count
    return counts
