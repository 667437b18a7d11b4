"""A text of ids cut into documents: where each ends, their order, and which are held out.

A document ends with its separator, for instance a line break, and the next one begins right after it.
Adjacent separators end one document, so blank lines make no empty documents.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Cut(NamedTuple):
    """A text cut into documents."""

    ids: np.ndarray  # [N], also the last document ends with a separator
    bounds: np.ndarray  # [D + 1] int64: document d is ids[bounds[d] : bounds[d + 1]]


def cut_into_documents(ids: np.ndarray, separator: np.ndarray) -> Cut:
    """Cut a text, [N] ids, after every separator, [K] ids; add one at the end if it is missing."""
    ends = _separator_ends(ids, separator)
    if len(ends) == 0 or ends[-1] < len(ids):
        ids = np.concatenate([ids, _missing_end(ids, separator)])
        ends = _separator_ends(ids, separator)  # again: what was added may touch a separator
    return Cut(ids, np.concatenate([[0], ends]))


def _separator_ends(ids: np.ndarray, separator: np.ndarray) -> np.ndarray:
    """Return the end of each separator, or of each run of adjacent or overlapping ones."""
    matches = ids[: len(ids) - len(separator) + 1] == separator[0]
    for position, symbol in enumerate(separator[1:], start=1):
        matches &= ids[position : len(ids) - len(separator) + 1 + position] == symbol
    starts = np.flatnonzero(matches)
    ends = starts + len(separator)
    return ends[np.append(starts[1:] > ends[:-1], True)] if len(ends) else ends


def _missing_end(ids: np.ndarray, separator: np.ndarray) -> np.ndarray:
    """Return the part of the separator that the end of the text lacks."""
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
    """Return how many documents at the end make up each share of the characters, the last share first.

    Every fraction above 0 gets the number of documents that is closest to it, and at least one.
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
