"""What is known of a run while it lasts, for the views that show it."""

import dataclasses
import itertools
import time
from typing import Literal, NamedTuple

MOST_POINTS = 400  # of the loss that are kept; more are averaged in pairs


class Progress(NamedTuple):
    """Where training stands at one moment."""

    step: int
    total_steps: int
    position: str  # epoch and step, in words
    loss: float  # nats per character, of the last steps
    accuracy: float  # of the last steps
    rates: tuple[float, float]  # steps/s and characters/s
    seconds_left: float  # to the end of the whole command
    at: float  # time.monotonic() when this was so

    @property
    def fraction(self) -> float:
        """The part of all steps that is done."""
        return min(1.0, self.step / max(1, self.total_steps))

    @property
    def left(self) -> str:
        """The time left, in words, as of now."""
        return f"{clock(max(0.0, self.seconds_left - (time.monotonic() - self.at)))} left"


# Where nothing can be taken back: whether something that takes time gets a line.
InLines = Literal["never", "if long", "at once"]


class Phase(NamedTuple):
    """Something other than training that takes time."""

    text: str  # "evaluating ..."
    started: float  # time.monotonic()
    in_lines: InLines = "if long"

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.started

    @property
    def words(self) -> str:
        """What is being done, and for how long once that is worth saying."""
        return self.text if self.seconds < 2 else f"{self.text} {clock(self.seconds)}"


class Sample(NamedTuple):
    """A piece of text that the model wrote."""

    title: str
    prompt: str
    text: str


class LossCurve:
    """The loss of a run so far, in a limited number of points."""

    def __init__(self) -> None:
        """Begin with none."""
        self.points: list[tuple[int, float]] = []  # step, loss

    def add(self, step: int, loss: float) -> None:
        """Take down the loss of a step."""
        self.points.append((step, loss))
        if len(self.points) > MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=False)
            halved = [(later[0], (earlier[1] + later[1]) / 2) for earlier, later in pairs]
            self.points = halved + self.points[2 * len(halved) :]

    def means(self, count: int) -> list[float]:
        """Return the means of so many equal parts of the curve, or its points where there are fewer."""
        losses = [loss for _, loss in self.points]
        count = min(count, len(losses))
        cuts = [len(losses) * part // count for part in range(count + 1)] if count else []
        return [sum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]


@dataclasses.dataclass
class Status:
    """Everything that a view may show."""

    progress: Progress | None = None
    phases: list[Phase] = dataclasses.field(default_factory=list)  # the innermost last
    curve: LossCurve = dataclasses.field(default_factory=LossCurve)
    validation: list[tuple[int, float]] = dataclasses.field(default_factory=list)  # step, loss

    @property
    def phase(self) -> Phase | None:
        """What is being done, if it is not training."""
        return self.phases[-1] if self.phases else None


def clock(seconds: float) -> str:
    """Return a duration as people write it: 0:43, 12:05, 1:02:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
