"""A remembered text: what a model that keeps it makes of other text, and what it writes."""

from concurrent.futures import Future
from functools import cached_property
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from jaxchar.errors import JaxcharError
from jaxchar.memory import lookup, native_memory
from jaxchar.memory.gate import Counts, Gate, evidence_of, mixed_surprises
from jaxchar.memory.growing import GATE as GROWING_GATE
from jaxchar.memory.growing import learning_surprises, with_read
from jaxchar.memory.lookup import Reading
from jaxchar.memory.read_counts import ReadCounts, count_read
from jaxchar.memory.text_index import TextIndex
from jaxchar.memory.trust import trusted_surprises
from jaxchar.recurrence import native
from jaxchar.tracing import host, on_host

MOST_SYMBOLS = 1 << 16  # ids of more do not fit into two bytes

SORTING_SECONDS = 0.5e-6  # a character, on one core
MOST_REPORTED = 5_000_000  # characters; with more, a training does not end by asking its memory


class Foreseen(NamedTuple):
    """What a network predicted of the characters of a text, in the order of the text."""

    positions: np.ndarray  # [P] int, place of the predicted character in the text
    surprises: np.ndarray  # [P] float32, nats
    entropies: np.ndarray  # [P] float32, nats
    largest: np.ndarray  # [P] float32, the largest log-probability


class TextMemory:
    """A text, by heart. Its contexts are sorted when they are first asked for."""

    def __init__(self, ids: np.ndarray, num_symbols: int) -> None:
        """Keep a text.

        Args:
            ids: [N], of the text's characters, each below ``num_symbols``.
            num_symbols: V, at most 65,536.

        Raises:
            JaxcharError: an id is no symbol, or there are too many symbols.
        """
        if num_symbols > MOST_SYMBOLS:
            raise JaxcharError(
                f"a memory takes at most {MOST_SYMBOLS:,} symbols, but there are {num_symbols:,}; train with "
                "--memory none, or reduce the text"
            )
        if ids.ndim != 1 or ids.max(initial=0) >= num_symbols:
            raise JaxcharError("the remembered text has ids that are no symbols of the vocabulary")
        self.ids = ids
        self.num_symbols = num_symbols
        self._sorting: Future[TextIndex] | None = None

    @cached_property
    def index(self) -> TextIndex:
        """The sorted contexts; some tenths of a second for a million characters."""
        return TextIndex.of(self.ids) if self._sorting is None else self._sorting.result()

    def sort_in_background(self) -> None:
        """Begin to sort the contexts in a thread of its own; :attr:`index` waits for it."""
        sorting: Future[TextIndex] = Future()

        def sort() -> None:
            try:
                sorting.set_result(TextIndex.of(self.ids))
            except BaseException as error:  # raised where the index is asked for
                sorting.set_exception(error)

        Thread(target=sort, daemon=True, name="jaxchar-memory").start()
        self._sorting = sorting

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_sorting": None}  # which cannot be pickled

    @property
    def index_bytes(self) -> int:
        """The memory that the sorted contexts take: 6 bytes a character, or 8 of more than 256 symbols."""
        return (6 if self.num_symbols <= 256 else 8) * len(self.ids)

    @property
    def sorting_seconds(self) -> float:
        """How long the sorting takes, about."""
        return SORTING_SECONDS * len(self.ids)

    def extended(self, ids: np.ndarray) -> "TextMemory":
        """Return a memory of this text and another one after it, [N] ids."""
        return TextMemory(np.concatenate([self.ids, ids]), self.num_symbols)

    def counts(self, read: np.ndarray, reading: Reading) -> Counts:
        """Return the counts before each of the characters ``read[first:]``, [N] ids."""
        if native.is_available() and host() is not None:
            with on_host():
                return native_memory.count_text(self.index, self.num_symbols, read, reading)
        return lookup.count_text(self.index, read, reading)

    def surprises(
        self, read: np.ndarray, foreseen: Foreseen, *, growing: bool = False, is_own_text: bool = False
    ) -> np.ndarray:
        """Return each predicted character's surprise under the mixture of network and counts, [P], nats.

        Args:
            read: [N] ids, the text.
            foreseen: what the network predicted of it.
            growing: count what came before in this text, too, and learn from it how far to trust them.
            is_own_text: it is the remembered text itself: a position's own occurrence is left out.
        """
        counts = self.counts(np.asarray(read), Reading(0, growing, is_own_text))
        before = Counts(*(np.asarray(part)[foreseen.positions] for part in counts))
        network, num_symbols = foreseen[1:], np.float32(self.num_symbols)
        if not growing:
            with on_host():
                return np.asarray(mixed_surprises(Gate.fitted(), *network, before, num_symbols))
        read_before = ReadCounts(*(part[foreseen.positions] for part in count_read(read)))
        with on_host():
            evidence = with_read(evidence_of(*network, before, num_symbols), read_before)
            mixed = learning_surprises(Gate.fitted(GROWING_GATE), evidence)
        return trusted_surprises(foreseen.surprises, np.asarray(mixed))
