"""The time of a section: an item is begun only if it is likely to be finished."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
NO_TIME = "no time was left"


class Clock:
    """Counts down from the seconds of a section."""

    def __init__(self, seconds: float) -> None:
        """Start."""
        self._end = time.monotonic() + seconds
        self._last = 0.0  # seconds of the item before

    def left(self) -> float:
        """Return the seconds that are left; never less than 0."""
        return max(0.0, self._end - time.monotonic())

    def in_time(self, items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
        """Yield items, and whether there is time for each: as much as the one before it took.

        What is done between an item and the next one is the item's time. The first is always begun.
        """
        for item in items:
            if self.left() <= self._last:
                yield item, False
                continue
            started = time.monotonic()
            yield item, True
            self._last = time.monotonic() - started
