"""Which passages of one text appear verbatim in another: exact, for a corpus of any size. Pure NumPy.

The corpus is read once, block by block, by hashes of 64 bits that follow from prefix sums: with

    S[i] = v(x_0) + v(x_1) b + ... + v(x_(i-1)) b^(i-1)        (mod 2^64)

the n characters at i have the hash (S[i+n] - S[i]) b^-i, whatever n is. Equal hashes prove nothing, so every
match is compared character by character.

Letters: M characters of the text, N of the corpus, D distinct n-grams, S positions of a block.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

LENGTHS = (5, 10, 15, 20, 25, 30, 40, 50)
BLOCK = 1 << 18  # positions hashed at a time, so that the data stays in the processor's cache
SIEVE_BITS = 22  # a table of 2^22 flags, by the highest bits of a hash, rejects most n-grams at once
BASE = 0x9E3779B97F4A7C15  # b, any odd number; the golden ratio's bits
COMPARED = 1 << 22  # characters compared at a time


class SharedPassage(NamedTuple):
    """The longest passage that two texts share; any of them if there are several."""

    length: int
    text_position: int
    corpus_position: int


def copied_shares(
    text: np.ndarray, corpus: np.ndarray, lengths: Sequence[int] = LENGTHS
) -> dict[int, float | None]:
    """Return, for every length n, the share of a text's n-grams that appear verbatim in a corpus.

    Every position of the text counts, so an n-gram that appears twice counts twice.

    Args:
        text: [M] ids, any integer type.
        corpus: [N] ids.
        lengths: n; a text of fewer characters than n has no share: None.
    """
    sought = [_Sought(text, n) for n in lengths]
    for start in range(0, len(corpus), BLOCK):
        block = _block(corpus, start, max(lengths))
        for ngrams in sought:
            ngrams.remove_found(block, corpus)
    return {ngrams.n: ngrams.share_found() for ngrams in sought}


def longest_shared(text: np.ndarray, corpus: np.ndarray) -> SharedPassage:
    """Return the longest passage of a text that appears verbatim in a corpus.

    The corpus is read once. Each block is searched for a passage that is longer than the longest so far,
    until it has none.

    Args:
        text: [M] ids, any integer type.
        corpus: [N] ids.
    """
    longest = SharedPassage(0, 0, 0)
    sought = _Sought(text, 1)
    for start in range(0, len(corpus), BLOCK):
        while found := sought.first_in(_block(corpus, start, sought.n), corpus):
            longest = _extended(text, corpus, *found)
            sought = _Sought(text, longest.length + 1)
    return longest


def _extended(text: np.ndarray, corpus: np.ndarray, i: int, p: int) -> SharedPassage:
    """Return the passage around positions i and p of the two texts, as long as they agree."""
    after = _common_length(text[i:], corpus[p:])
    before = _common_length(text[:i][::-1], corpus[:p][::-1])
    return SharedPassage(before + after, i - before, p - before)


def _common_length(one: np.ndarray, other: np.ndarray) -> int:
    """Return the length of the common prefix of two texts."""
    end = min(len(one), len(other))
    start, size = 0, 64
    while start < end:
        stop = min(start + size, end)
        different = np.flatnonzero(one[start:stop] != other[start:stop])
        if len(different):
            return start + int(different[0])
        start, size = stop, 2 * size
    return end


# ---- hashes --------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """Prefix sums of some characters, which give the hashes of every n up to a maximum."""

    start: int  # position of the first character
    sums: np.ndarray  # [at most S + longest n] uint64

    def hashes(self, n: int) -> np.ndarray:
        """Return the hash of the n-gram at every position of the block that has one, at most S."""
        count = max(0, min(BLOCK, len(self.sums) - n))
        return (self.sums[n : n + count] - self.sums[:count]) * _powers(count, pow(BASE, -1, 1 << 64))


def _block(ids: np.ndarray, start: int, longest: int) -> _Block:
    """Return the block of ids at a position, for n-grams of up to ``longest`` characters."""
    characters = ids[start : start + BLOCK + longest - 1]
    sums = np.zeros(len(characters) + 1, np.uint64)
    np.cumsum(_mixed(characters) * _powers(len(characters), BASE), out=sums[1:])
    return _Block(start, sums)


def _mixed(ids: np.ndarray) -> np.ndarray:
    """Return v(x), a number of 64 scrambled bits for every id (the finaliser of SplitMix64)."""
    x = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_POWERS: dict[int, np.ndarray] = {}


def _powers(count: int, base: int) -> np.ndarray:
    """Return b^0 ... b^(count - 1), mod 2^64."""
    known = _POWERS.get(base, np.empty(0, np.uint64))
    if len(known) < count:
        known = np.full(max(count, BLOCK + 64), base, np.uint64)
        known[0] = 1
        known = _POWERS[base] = np.cumprod(known)
    return known[:count]


# ---- searching -----------------------------------------------------------------------------------


class _Sought:
    """The n-grams of a text that were not yet found, by hash."""

    def __init__(self, text: np.ndarray, n: int) -> None:
        """Hash the n-grams of a text."""
        self.n = n
        self._text = text
        self._total = len(text) - n + 1
        self._found = 0
        blocks = (_block(text, start, n) for start in range(0, len(text), BLOCK))
        hashes = np.concatenate([np.empty(0, np.uint64), *(block.hashes(n) for block in blocks)])
        self._layers = [_Layer(*layer) for layer in _distinct(text, n, hashes)]

    def __len__(self) -> int:
        return sum(len(layer.hashes) for layer in self._layers)

    def share_found(self) -> float | None:
        """Return the share of the text's n-grams that was found; None if it has none."""
        return self._found / self._total if self._total > 0 else None

    def remove_found(self, block: _Block, corpus: np.ndarray) -> None:
        """Count and remove the n-grams that a block of the corpus contains."""
        hashes = block.hashes(self.n) if len(self) else np.empty(0, np.uint64)
        for layer in self._layers:
            numbers, _ = layer.matches(hashes, block.start, self._text, corpus, self.n)
            self._found += layer.remove(numbers)

    def first_in(self, block: _Block, corpus: np.ndarray) -> tuple[int, int] | None:
        """Return the positions, in text and corpus, of an n-gram that a block contains, or None."""
        hashes = block.hashes(self.n) if len(self) else np.empty(0, np.uint64)
        for layer in self._layers:
            numbers, positions = layer.matches(hashes, block.start, self._text, corpus, self.n)
            if len(numbers):
                return int(layer.positions[numbers[0]]), int(positions[0])
        return None


class _Layer:
    """Distinct n-grams with distinct hashes, sorted by hash, with a sieve before them."""

    def __init__(self, hashes: np.ndarray, positions: np.ndarray, counts: np.ndarray) -> None:
        """Take n-grams.

        Args:
            hashes: [D] uint64, ascending.
            positions: [D], where in the text each appears for the first time.
            counts: [D], how often.
        """
        self.hashes, self.positions, self._counts = hashes, positions, counts
        self._sieve = np.zeros(1 << SIEVE_BITS, bool)
        self._sieve[_highest_bits(hashes)] = True

    def matches(
        self, hashes: np.ndarray, start: int, text: np.ndarray, corpus: np.ndarray, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the n-grams that a block contains, each once, and a position of each in the corpus."""
        positions = np.flatnonzero(self._sieve[_highest_bits(hashes)])
        numbers = np.searchsorted(self.hashes, hashes[positions])
        numbers[numbers == len(self.hashes)] = 0
        equal = self.hashes[numbers] == hashes[positions] if len(self.hashes) else np.zeros(0, bool)
        numbers, positions = numbers[equal], positions[equal] + start
        found = []
        while len(numbers):  # once, unless different n-grams have the same hash
            each, first = np.unique(numbers, return_index=True)
            same = _same(text, self.positions[each], corpus, positions[first], n)
            found.append((each[same], positions[first][same]))
            left = ~np.isin(numbers, each[same])
            left[first] = False
            numbers, positions = numbers[left], positions[left]
        none = np.empty(0, np.intp)
        return (
            np.concatenate([none, *(numbers for numbers, _ in found)]),
            np.concatenate([none, *(positions for _, positions in found)]),
        )

    def remove(self, numbers: np.ndarray) -> int:
        """Remove n-grams; return how many positions of the text they had."""
        if not len(numbers):
            return 0
        found = int(self._counts[numbers].sum())
        columns = (np.delete(column, numbers) for column in (self.hashes, self.positions, self._counts))
        self.hashes, self.positions, self._counts = columns
        self._sieve[:] = False
        self._sieve[_highest_bits(self.hashes)] = True
        return found


def _highest_bits(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - SIEVE_BITS)).view(np.int64)  # what NumPy indexes with, uncopied


def _distinct(
    text: np.ndarray, n: int, hashes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the distinct n-grams of a text as layers: hashes ascending, first positions, counts.

    One layer holds them all, unless different n-grams have the same hash. The second of these goes into a
    second layer, and so on.
    """
    positions = np.arange(len(hashes))
    while len(positions):
        ordered, first, which = np.unique(hashes[positions], return_index=True, return_inverse=True)
        heads = positions[first]
        alike = _same(text, heads[which], text, positions, n)
        yield ordered, heads, np.bincount(which[alike])
        positions = positions[~alike]


def _same(one: np.ndarray, i: np.ndarray, other: np.ndarray, p: np.ndarray, n: int) -> np.ndarray:
    """Return, for pairs of positions, whether the n characters there are equal."""
    same = np.ones(len(i), bool)
    pairs = np.flatnonzero((i != p) if one is other else same)  # equal to itself
    ones, others = (np.lib.stride_tricks.sliding_window_view(ids, n) for ids in (one, other))
    step = max(1, COMPARED // n)
    for start in range(0, len(pairs), step):
        some = pairs[start : start + step]
        same[some] = (ones[i[some]] == others[p[some]]).all(axis=1)
    return same
