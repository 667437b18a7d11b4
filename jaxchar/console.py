"""What a person sees: progress, tables, samples, one-line errors. Only doors and trainer know it."""

import contextlib
import io
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from jaxchar.errors import JaxcharError

if TYPE_CHECKING:  # loss imports JAX, which an error message or --help need not wait for
    from jaxchar.loss import Means

PLAIN_LINE_SECONDS = 10  # between progress lines where the output is no terminal

T = TypeVar("T")


# ---- errors and arguments ------------------------------------------------------------------------


def fail(message: str) -> NoReturn:
    """Print one line on standard error and leave with exit code 2."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error that the user caused into one line and exit code 2; Ctrl-C into exit code 130."""
    try:
        yield
    except JaxcharError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader of our output has left: nothing is wrong
        sys.stderr.close()
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def parse(kind: Callable[..., T], *, arguments: Sequence[str] | None = None, **options: Any) -> T:
    """Parse the command line with tyro, its framed errors turned into one line each."""
    import tyro

    framed = io.StringIO()
    try:
        with contextlib.redirect_stderr(framed):
            return tyro.cli(kind, args=arguments, **options)
    except SystemExit as leaving:
        if leaving.code in (0, None):
            raise
        fail(_unframed(framed.getvalue()))


def _unframed(box: str) -> str:
    """Return the text inside a drawn frame, as one line, up to tyro's closing advice."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in box.splitlines()]
    inside = [line.strip("│╭╮╰╯─ ") for line in lines]
    text = " ".join(line for line in inside if line)
    text = re.split(r"Argument helptext:|For full helptext", text)[0]
    return f"{text.strip()}; see --help"


# ---- text ----------------------------------------------------------------------------------------


def visible(text: str) -> str:
    """Return text that is safe on a terminal: control characters as the symbols that stand for them."""
    return "".join(_symbol(character) for character in text)


def _symbol(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or not (code < 32 or 127 <= code < 160):
        return character
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else "\ufffd"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


# ---- training ------------------------------------------------------------------------------------


class TrainingDisplay:
    """What a training run shows: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to a console of rich's; None takes standard output."""
        self.console = console or Console(highlight=False)
        self._progress: Progress | None = None
        self._last_plain_line = time.monotonic()

    def notice(self, line: str) -> None:
        """Say one thing that the user should know."""
        self.console.print(line, markup=False)

    def summary(self, title: str, rows: Sequence[tuple[str, str, int]], facts: Sequence[str]) -> None:
        """Show the model's layers with their parameter counts, as Keras's users know it."""
        table = Table(title=title, title_justify="left")
        for heading, justify in (("Layer", "left"), ("Output shape", "left"), ("Parameters", "right")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for name, shape, parameters in rows:
            table.add_row(name, shape, f"{parameters:,}")
        table.add_section()
        table.add_row("Total", "", f"{sum(row[2] for row in rows):,}")
        self.console.print(table)
        for fact in facts:
            self.console.print(fact, markup=False)

    @contextlib.contextmanager
    def live(self, total_steps: int) -> Iterator[None]:
        """Keep one line up to date below everything else while training lasts."""
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20))
        with Progress(*columns, console=self.console, transient=True) as self._progress:
            self._progress.add_task("compiling ...", total=total_steps)
            yield
        self._progress = None

    def progress(
        self, step: int, position: str, loss: float, accuracy: float, rates: tuple[float, float], left: float
    ) -> None:
        """Show where training stands.

        Args:
            step: steps done.
            position: epoch and step, in words.
            loss: nats per character, of the last steps.
            accuracy: of the last steps.
            rates: steps/s and characters/s.
            left: seconds to the end.
        """
        steps_per_second, chars_per_second = rates
        line = (
            f"{position}  loss {loss:.4f}  accuracy {accuracy:.4f}  {steps_per_second:,.1f} steps/s  "
            f"{chars_per_second:,.0f} chars/s  {_clock(left)} left"
        )
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=step, description=line)
        elif time.monotonic() - self._last_plain_line >= PLAIN_LINE_SECONDS:
            self._last_plain_line = time.monotonic()
            self.notice(line)

    def evaluation(self, position: str, train: "Means", val: "Means | None", is_best: bool) -> None:
        """Show training and validation figures side by side."""
        line = f"{position}  train: loss {train.loss:.4f}, accuracy {train.accuracy:.4f}"
        if val is not None:
            best = " (best so far)" if is_best else ""
            line += f"  validation: loss {val.loss:.4f}, accuracy {val.accuracy:.4f}{best}"
        self.notice(line)

    def sample(self, title: str, prompt: str, text: str) -> None:
        """Show a piece of text that the model wrote, what it went on from in another shade."""
        self.console.print(f"--- {title}", style="dim", markup=False)
        self.console.print(visible(prompt), style="dim", end="", markup=False, soft_wrap=True)
        self.console.print(visible(text), markup=False, soft_wrap=True)
