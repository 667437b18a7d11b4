"""Telling is not training: output that fails, wherever it goes to, fails without harm to the run.

``TolerantStream`` is a stream that never raises; ``GuardedDisplay`` a display that never does.
"""

import contextlib
import io
import os
import select
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxchar.progress.display import TrainingDisplay

PATIENCE_SECONDS = 5.0  # with a reader that does not read: a stopped terminal, a paused pager
PIECE = 1_000  # characters that are written at once: a pipe with any room takes 4,096 bytes without waiting


# ---- streams -------------------------------------------------------------------------------------


class TolerantStream:
    """A stream that takes whatever is written to it, and passes it on as long as that works.

    Where the reader only does not read at the moment, what does not fit is left out after some seconds
    of waiting, and how much that was is told when there is room again.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        """Wrap a stream; None is one that was closed before Python started."""
        self._stream = stream
        self.problem: str | None = None if stream is not None else "it is closed"  # why nothing is passed on
        self._left_out = 0  # characters, since the reader stopped reading
        self._poll = _poll_for(stream)

    def __getattr__(self, name: str) -> Any:
        """Be what the stream is in everything but failing."""
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether the stream is a terminal that is still there."""
        try:
            return self.problem is None and self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def write(self, text: str) -> int:
        """Write what can be written; return the length of the whole text."""
        for start in range(0, len(text), PIECE):
            self._attempt(text[start : start + PIECE])
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write what can be written."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, if that works."""
        self._attempt("")

    def _attempt(self, piece: str) -> None:
        if self._stream is None or self.problem is not None:
            return
        if not self._is_ready():
            self._left_out += len(piece)
            return
        if self._left_out and piece:
            piece = f"\n[{self._left_out:,} characters were left out here: nobody read them]\n{piece}"
            self._left_out = 0
        try:
            self._write_at_once(self._stream, piece)
        except BlockingIOError:  # somebody has made the terminal one that does not wait
            self._left_out += len(piece)
        except Exception as error:  # streams of notebooks and tests raise kinds of their own
            self.problem = reason_of(error)

    def _write_at_once(self, stream: IO[str], piece: str) -> None:
        try:
            stream.write(piece)
        except UnicodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(piece.encode(encoding, "replace").decode(encoding))
        stream.flush()

    def _is_ready(self) -> bool:
        """Whether a write would not wait; the first time that it would, wait for a while."""
        if self._poll is None:
            return True
        with contextlib.suppress(OSError):
            return bool(self._poll.poll(0 if self._left_out else PATIENCE_SECONDS * 1_000))
        return True


def _poll_for(stream: IO[str] | None) -> "select.poll | None":
    """Return what tells whether a file of the operating system's can be written to; None for others."""
    try:
        poll = select.poll()
        poll.register(_descriptor_of(stream), select.POLLOUT)
    except (AttributeError, OSError, ValueError):
        return None
    return poll


def _descriptor_of(stream: Any) -> int:
    """Return the number of the file that a stream writes to.

    Raises:
        ValueError: it writes to none, as the streams of a notebook and of a test.
    """
    if not isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
        raise ValueError("no file")
    return stream.buffer.fileno()


def reason_of(error: BaseException) -> str:
    """Return in a few words why something failed."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


@contextlib.contextmanager
def tolerant_output() -> Iterator[None]:
    """Let no failure of standard output or standard error reach a program, up to its very exit."""
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr
    tolerant = TolerantStream(sys.stdout), TolerantStream(sys.stderr)
    sys.stdout, sys.stderr = tolerant  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in tolerant:
            stream.flush()
            _forget_what_failed(stream)
        sys.stdout, sys.stderr = before


def _occupy_closed_descriptors() -> None:
    """Let no file that is opened later become standard output or error, which libraries in C write to."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _forget_what_failed(stream: TolerantStream) -> None:
    """Throw away what a broken stream still holds; else Python fails on it when it ends: exit code 120."""
    if stream.problem is None and not stream._left_out:
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _descriptor_of(stream))
        os.close(nowhere)
        stream._stream.flush()  # type: ignore[union-attr]


# ---- the display ---------------------------------------------------------------------------------


def python_command(run_dir: Path) -> str:
    """Return what goes on with a run in Python."""
    return f"jaxchar.resume({str(run_dir)!r})"


def shell_command(run_dir: Path) -> str:
    """Return what goes on with a run on a command line."""
    path = str(run_dir)
    path = f"./{path}" if path.startswith("-") else path
    return f"python -m jaxchar.train --run-dir {shlex.quote(path)} --resume"


class GuardedDisplay:
    """A display of a run whose failures are told once, on standard error, and then replaced by silence.

    It has every method of the display. What the user must know, notices and warnings, goes to standard
    error when the display is gone.
    """

    def __init__(self, display: "TrainingDisplay", command: Callable[[Path], str] | None = None) -> None:
        """Guard a display.

        Args:
            display: what shows the run.
            command: gives the shell command that goes on with a run in a folder, for a program that is a
                command of its own; None for a run that Python code has begun.
        """
        self._display = display
        self._command = command
        self._is_gone = False

    @classmethod
    def of(cls, display: "TrainingDisplay | GuardedDisplay") -> "GuardedDisplay":
        """Return the display guarded, once."""
        return display if isinstance(display, cls) else cls(display)  # type: ignore[arg-type]

    @property
    def owns_process(self) -> bool:
        """Whether the process is there for this run alone, and may end with it."""
        return self._command is not None

    def __getattr__(self, name: str) -> Any:
        """Return a method of the display's that cannot fail."""
        member = getattr(self._display, name)
        return (lambda *given, **named: self._call(member, *given, **named)) if callable(member) else member

    def notice(self, line: str) -> None:
        """Say one thing that the user should know."""
        self._call(self._display.notice, line)
        if self._is_gone:
            _say_on_stderr(line)

    def stopped(self, run_dir: Path, step: int, total_steps: int) -> None:
        """Say where a run was stopped, and how to go on with it."""
        command = (self._command or python_command)(run_dir)
        self.notice(f"stopped at step {step:,} of {total_steps:,}; go on with: {command}")

    def lose(self, reason: str) -> None:
        """Say once that the display has failed, and show nothing from now on."""
        if not self._is_gone:
            self._is_gone = True
            _say_on_stderr(
                f"warning: the run can no longer be shown here ({reason}); it goes on all the same"
            )

    def _call(self, method: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if self._is_gone:
            return nullcontext()
        with self.failures_kept():
            result = method(*given, **named)
            is_context = isinstance(result, AbstractContextManager)
            return _GuardedContext(self, result) if is_context else result
        return nullcontext()

    @contextlib.contextmanager
    def failures_kept(self) -> Iterator[None]:
        """Let no failure of the display leave a block."""
        try:
            yield
        except (Exception, SystemExit) as error:
            # rich leaves the program where a pipe is broken; any other exit is somebody's wish.
            cause = error.__context__ if isinstance(error, SystemExit) else error
            if cause is None or (cause is not error and not isinstance(cause, BrokenPipeError)):
                raise
            self.lose(reason_of(cause))
        stream = getattr(getattr(self._display, "console", None), "file", None)
        if isinstance(stream, TolerantStream) and stream.problem is not None:
            self.lose(stream.problem)

    @contextlib.contextmanager
    def tolerant_console(self) -> Iterator[None]:
        """Let the display's console write to a stream that never fails: a thread of rich's may be writing."""
        console = getattr(self._display, "console", None)
        if console is None or isinstance(console.file, TolerantStream):
            yield
            return
        before = getattr(console, "_file", None)  # None: whatever sys.stdout is; `file` does not tell
        console.file = TolerantStream(console.file)
        try:
            yield
        finally:
            console.file = before


class _GuardedContext:
    """A context manager of a display, such as its live line; what is raised within it passes through."""

    def __init__(self, guard: GuardedDisplay, context: AbstractContextManager[Any]) -> None:
        self._guard, self._context = guard, context
        self._until_closed = ExitStack()
        self._is_open = False

    def __enter__(self) -> Any:
        self._until_closed.enter_context(self._guard.tolerant_console())
        with self._guard.failures_kept():
            entered = self._context.__enter__()
            self._is_open = True
            return entered
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._until_closed:
            if not self._is_open:
                return
            try:
                with self._guard.failures_kept():
                    self._context.__exit__(kind, error, traceback)
            except BaseException as raised:
                if raised is not error:
                    raise


def _say_on_stderr(line: str) -> None:
    """Write a line on standard error, where that works."""
    from jaxchar.terminal.visible import visible

    stream = getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # past a live line that has failed
    with contextlib.suppress(Exception):
        stream.write(f"{visible(line)}\n")
        stream.flush()
