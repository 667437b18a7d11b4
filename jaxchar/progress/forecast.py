"""How long the rest of a run will take that is not training: evaluations, samples, saves."""

import contextlib
import time
from collections.abc import Iterator


class Forecast:
    """Remembers how long each kind of work took the last time."""

    def __init__(self) -> None:
        """Know of nothing yet."""
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def measured(self, work: str) -> Iterator[None]:
        """Take down how long some work takes."""
        started = time.perf_counter()
        yield
        self._seconds[work] = time.perf_counter() - started

    def seconds(self, work: str, times: int) -> float:
        """Return how long it will take so many times; 0 for what has never been done."""
        return times * self._seconds.get(work, 0.0)


def times_left(step: int, total_steps: int, period: int) -> int:
    """Return how often something is still due that is due every so many steps, and at the end."""
    return max(0, -(-total_steps // period) - step // period)
