"""What a person sees: progress, tables, samples, one-line errors. Only doors and trainer know it."""

import contextlib
import io
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from jaxchar.command_line import called_as
from jaxchar.errors import JaxcharError

if TYPE_CHECKING:  # loss imports JAX, which an error message or --help need not wait for
    from jaxchar.loss import Means

# What tyro says of a value that fits none of several types.
NO_MATCH = re.compile(r"no type matching (.+?) could be instantiated from \[(.*?)\]\.?(?= |$)")
PLAIN_LINE_SECONDS = 10  # between progress lines where the output is no terminal


# ---- errors and arguments ------------------------------------------------------------------------


def fail(message: str) -> NoReturn:
    """Print one line on standard error and leave with exit code 2."""
    print("error: " + visible(" ".join(message.split())), file=sys.stderr)
    raise SystemExit(2)


def warn(lines: Iterable[str]) -> None:
    """Print a line of warning each on standard error; a checkpoint from anywhere may have worded it."""
    for line in lines:
        print(f"warning: {visible(line)}", file=sys.stderr)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error that the user caused into one line and exit code 2; Ctrl-C into exit code 130."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character shows a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        yield
    except JaxcharError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader of our output has left: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or 'a file'}; see that it can be read and written")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        fail("the machine has not enough memory for these settings; lower --batch-size, --seq-len or sizes")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def parse(
    kind: Callable[..., Any], *, prog: str, arguments: Sequence[str] | None = None, **options: Any
) -> Any:
    """Parse the command line with tyro, its framed errors turned into one line each.

    Args:
        kind: the dataclass to fill.
        prog: how the user called the command, for the usage line.
        arguments: the command line; None takes the process's own.
        options: further ones of ``tyro.cli``.
    """
    import tyro

    def attempt() -> Any:
        return tyro.cli(kind, args=arguments, prog=prog, **options)

    # tyro knows TERM=dumb, but not NO_COLOR (https://no-color.org)
    plain = {"TERM": "dumb"} if os.environ.get("NO_COLOR") else {}
    try:
        with contextlib.redirect_stderr(io.StringIO()), _environment(**plain):
            return attempt()
    except SystemExit as leaving:
        if leaving.code in (0, None):
            raise
    framed = io.StringIO()
    # So wide a frame that nothing in it is broken into lines.
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(framed), _environment(COLUMNS="10000"):
        attempt()
    fail(_unframed(framed.getvalue()))


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while: tyro asks them for the terminal's width and colours."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _unframed(box: str) -> str:
    """Return the text inside a drawn frame as one line, less title and closing advice."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in box.splitlines()]
    text = " ".join(line.strip("│╭╮╰╯─ ") for line in lines if not line.lstrip().startswith("╭"))
    text = re.split(r"Argument helptext:|For full helptext", text)[0]
    text = re.sub(r"^\s*Error parsing (?:[a-z]+: )?", "", text)
    text = re.sub(r"invalid literal for int\(\) with base 10: ", "expected a whole number, but it is ", text)
    text = re.sub(r"could not convert string to float: ", "expected a number, but it is ", text)
    text = NO_MATCH.sub(lambda found: f"expected {_in_words(found[1])}, but it is {found[2]}", text)
    text = text.split("Got errors")[0].replace("[bold]", "").replace("[/bold]", "")
    return f"{' '.join(text.split()).rstrip('.')}; see --help-all"


def _in_words(metavar: str) -> str:
    """Return in words what tyro calls {None}|FLOAT."""
    words = {"INT": "a whole number", "FLOAT": "a number", "STR": "a text", "{None}": "None"}
    words |= {"{[INT [INT ...]]}": "several of them"}
    return " or ".join(sorted((words.get(part, part) for part in metavar.split("|")), key="None".__eq__))


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
        self.console.print(visible(line), markup=False, soft_wrap=True)

    def leave(self) -> None:
        """Leave the terminal as it was found, for a process that is about to end at once."""
        self.console.show_cursor(True)

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
            self.notice(fact)

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

    def finished(self, run_dir: Path, summary: dict[str, Any]) -> None:
        """Say where the run lies and what it came to."""
        figures = (
            f"{summary['steps']:,} steps in {_clock(summary['seconds'])} of training "
            f"({summary['steps_per_second']:,.1f} steps/s, {summary['chars_per_second']:,.0f} chars/s; "
            "compiling, evaluating, sampling and saving not counted)"
        )
        self.notice(figures)
        if summary["best_val_loss"] is not None:
            self.notice(
                f"Best validation loss {summary['best_val_loss']:.4f} nats per character, at step "
                f"{summary['best_step']:,}"
            )
        self.notice(
            f"The run is in {run_dir}; write with: {called_as('sample')} --ckpt {shlex.quote(str(run_dir))}"
        )
