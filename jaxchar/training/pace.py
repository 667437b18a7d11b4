"""How fast a run is, how many steps a call should do, and how long the rest will take."""

import contextlib
import time
from collections.abc import Iterator

from jaxchar.progress.forecast import Forecast, times_left
from jaxchar.training.plan_words import passes_in_words

CHUNK_SECONDS = 0.25  # how long one call of train_steps should last: progress, Ctrl-C


class Pace:
    """The time that training takes; compilation, evaluation, sampling and saving are not counted."""

    def __init__(self, *, deadline: float | None = None) -> None:
        """Begin; the deadline is by ``time.monotonic()``, None where there is none."""
        self.seconds = 0.0  # of training, that of earlier processes included
        self.steps_timed = 0  # by this process
        self._seconds_timed = 0.0
        self._forecast = Forecast()
        self._deadline = deadline

    def add(self, steps: int, seconds: float) -> int:
        """Take down how long some steps took; return how many the next call should do."""
        self.steps_timed += steps
        self._seconds_timed += seconds
        self.seconds += seconds
        return max(1, min(4 * steps, round(CHUNK_SECONDS * steps / seconds)))

    def is_late(self) -> bool:
        """Whether the time is up."""
        return self._deadline is not None and time.monotonic() > self._deadline

    @contextlib.contextmanager
    def measured(self, work: str) -> Iterator[None]:
        """Take down how long some work takes that is not training."""
        with self._forecast.measured(work):
            yield

    @property
    def steps_per_second(self) -> float:
        """Steps per second of this process's training; 0 before the first."""
        return self.steps_timed / max(self._seconds_timed, 1e-9)

    def seconds_left(self, step: int, total_steps: int, periods: dict[str, int]) -> float:
        """Return how long the rest of a run will take.

        Args:
            step: steps done.
            total_steps: at which the run ends.
            periods: every how many steps each kind of work is done that is not training.
        """
        left = (total_steps - step) / max(self.steps_per_second, 1e-9)
        for work, period in periods.items():
            left += self._forecast.seconds(work, times_left(step, total_steps, period))
        return left


def time_is_up(step: int, total_steps: int) -> str:
    """Return what is said when training stops at its deadline, before its last step."""
    return (
        f"The time is up at step {step:,} of {total_steps:,}: beginning or training took longer than was "
        "planned. The best model so far is kept."
    )


def stopped_by_callback(step: int, total_steps: int) -> str:
    """Return what is said when a callback has stopped training."""
    return f"A callback stopped the run at step {step:,} of {total_steps:,}."


def length_corrected(before: int, after: int, steps_per_epoch: int) -> str:
    """Return what is said when a run gets another last step, since its plan was wrong about the machine."""
    passes = passes_in_words(after / steps_per_epoch)
    return f"There is time for {after:,} steps instead of {before:,}: {passes} over the text."
