"""What a stream tells: events with their names, and pauses between them."""

from typing import Any, NamedTuple

Event = tuple[str, dict[str, Any]]


class Wait(NamedTuple):
    """Nothing to tell for so many seconds; no thread is to be kept for it."""

    seconds: float
