"""The ways to show a run: a line redrawn in place on a terminal, plain lines in a file.

A view is told of everything that happens and asked to look again several times a second. How it shows
that, and when, is its own matter.
"""

import contextlib
import io
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.segment import ControlType, Segment, Segments
from rich.style import Style

from jaxchar.progress.line import ASCII, UNICODE, Piece, plain_line, progress_line
from jaxchar.progress.status import Phase, Sample, Status
from jaxchar.terminal.screen import FILE_COLUMNS, can_draw, say, verbatim

REDRAW_SECONDS = 0.25  # at least, between two states of a line that changes
TAB_COLUMNS = 8
LONG_PHASE_SECONDS = 2.0  # what lasts longer gets a line in a file
FIRST_PAUSE, LAST_PAUSE, PAUSE_GROWTH = 10.0, 60.0, 1.5  # seconds between progress lines in a file


class View(Protocol):
    """Something that shows a run."""

    @property
    def columns(self) -> int:
        """How wide a line may be."""

    def notice(self, line: str) -> None:
        """Show a line for good."""

    def sample(self, sample: Sample, heading: str) -> None:
        """Show a piece of text that the model wrote."""

    def look(self, status: Status) -> None:
        """Show what has changed, if it is time to."""

    def rest(self) -> None:
        """Take away what was only shown for the moment: nothing is going on any more."""


class PlainView:
    """Lines, and nothing but lines: for files, pipes, simple terminals and screen readers."""

    columns = FILE_COLUMNS

    def __init__(self, console: Console) -> None:
        """Write to a console."""
        self._console = console
        self._pause, self._next_line = FIRST_PAUSE, 0.0
        self._told: object = None  # the phase that has had its line

    def notice(self, line: str) -> None:
        """Write a line."""
        say(self._console, line)
        self._flush()

    def sample(self, sample: Sample, heading: str) -> None:
        """Write the whole of it."""
        say(self._console, f"--- {heading}")
        say(self._console, sample.prompt + sample.text)
        self._flush()

    def look(self, status: Status) -> None:
        """Write a line now and then, the first ones soon, and one for what takes long."""
        phase = status.phase
        if phase is not None and phase != self._told and _is_worth_a_line(phase):
            self._told = phase
            self.notice(phase.text)
        if phase is None and status.progress is not None and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self._pause
            self._pause = min(LAST_PAUSE, self._pause * PAUSE_GROWTH)
            self.notice(plain_line(status.progress))

    def rest(self) -> None:
        """Leave everything as it is."""

    def _flush(self) -> None:
        self._console.file.flush()


def _is_worth_a_line(phase: Phase) -> bool:
    waited_for = {"never": math.inf, "if long": LONG_PHASE_SECONDS, "at once": 0.0}
    return phase.seconds >= waited_for[phase.in_lines]


class TerminalView:
    """What stays scrolls by; below it, one line is redrawn in place."""

    def __init__(self, console: Console) -> None:
        """Write to a console that is a terminal."""
        self._console = console
        self._glyphs = UNICODE if can_draw(console.file) else ASCII
        self._drawn: list[Piece] = []
        self._next_look = 0.0

    def notice(self, line: str) -> None:
        """Write a line above the one that changes."""
        self._write_above([verbatim(line)])

    def sample(self, sample: Sample, heading: str) -> None:
        """Write as much of it as leaves room for what stood above it."""
        rows = max(3, self._console.height // 3)
        prompt, text = tail(sample.prompt, rows // 2, self.columns), sample.text
        shown = head(prompt + text, rows, self.columns)[len(prompt) :]
        if (shown, prompt) != (text, sample.prompt):
            heading += " (in part; samples.txt has all)"
        pieces = [verbatim(f"--- {heading}\n", "dim"), verbatim(prompt, "dim"), verbatim(shown)]
        self._write_above(pieces)

    def look(self, status: Status) -> None:
        """Redraw the line, at most a few times a second."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + REDRAW_SECONDS
            self._redraw([], progress_line(status, self.columns, self._glyphs))

    def rest(self) -> None:
        """Erase the line that changes."""
        self._redraw([], [])

    @property
    def columns(self) -> int:
        """Columns to draw in; the last one stays free, where terminals differ in what a cursor does."""
        return max(1, min(self._console.width, _columns_of(self._console)) - 1)

    def _write_above(self, segments: list[Segment]) -> None:
        self._redraw([*segments, Segment.line()], self._drawn)

    def _redraw(self, above: list[Segment], line: list[Piece]) -> None:
        """Write, in a single call, lines that stay in the place of the changing one, and this one below."""
        if not above and line == self._drawn:
            return
        pieces = [Segment(piece.text, Style.parse(piece.style)) for piece in line]
        frame = Segments([self._erasure(), *above, *pieces])
        self._drawn = line
        self._console.print(frame, end="", soft_wrap=True)
        self._console.file.flush()

    def _erasure(self) -> Segment:
        """Return what erases the line, also where a window made narrower has broken it into several."""
        columns = sum(cell_len(piece.text) for piece in self._drawn)
        more_rows = max(0, columns - 1) // (self.columns + 1)
        up = f"\x1b[{more_rows}A" if more_rows else ""
        control = [(ControlType.CARRIAGE_RETURN,)]  # marks it: takes no columns
        return Segment(f"\r{up}\x1b[J" if self._drawn else "", None, control)  # type: ignore[arg-type]


def _columns_of(console: Console) -> int:
    """Return the true width of a terminal, whatever COLUMNS says; as wide as any where it cannot be known."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(console.file.fileno()).columns or console.width
    return console.width


def head(text: str, rows: int, columns: int) -> str:
    """Return the beginning of a text, as much as fills so many rows of a screen."""
    row, column = 1, 0
    for position, character in enumerate(text):
        width = TAB_COLUMNS if character == "\t" else cell_len(character)
        if character == "\n" or column + width > columns:
            row, column = row + 1, 0
        if row > rows:
            return text[:position]
        column += 0 if character == "\n" else width
    return text


def tail(text: str, rows: int, columns: int) -> str:
    """Return the end of a text, as much as fills so many rows of a screen."""
    return head(text[::-1], rows, columns)[::-1]


class Ticker:
    """Calls a function several times a second from a thread of its own."""

    def __init__(self, tick: Callable[[], None]) -> None:
        """Take what is to be called."""
        self._tick = tick
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a call that lasts."""
        self._ended.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the output is gone, as the others will find, too
            while not self._ended.wait(REDRAW_SECONDS):
                self._tick()


class LinesTo(io.TextIOBase):
    """A stream that hands on what is written to it, line by line."""

    def __init__(self, show: Callable[[str], None], stream: TextIO) -> None:
        """Take what shows a line, and the stream that this one stands for."""
        self._show = show
        self._stream = stream
        self._begun = ""  # the line that is not ended yet

    def write(self, text: str) -> int:
        """Show the lines that are whole."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            try:
                self._show(line)
            except (OSError, ValueError):  # what shows lines is gone
                self._stream.write(f"{line}\n")
        return len(text)

    @property
    def rich_proxied_file(self) -> TextIO:
        """The stream that this one stands for, under the name by which rich asks for it."""
        return self._stream

    def close(self) -> None:
        """Show the rest."""
        if self._begun:
            self.write("\n")
        super().close()

    def isatty(self) -> bool:
        """Whether the stream that this one stands for is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream that this one stands for."""
        return self._stream.fileno()
