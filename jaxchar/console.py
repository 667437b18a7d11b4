"""The command line: arguments, one-line errors, text that is safe on a terminal."""

import codecs
import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxchar.errors import JaxcharError, bounded, in_callers_words, speaking

# What tyro says of a value that fits none of several types.
NO_MATCH = re.compile(r"no type matching (.+?) could be instantiated from \[(.*?)\]\.?(?= |$)")

# ---- errors and arguments ------------------------------------------------------------------------


def fail(message: str) -> NoReturn:
    """Print one line on standard error and leave with exit code 2."""
    print("error: " + visible(re.sub(r"\s*\n\s*", " ", bounded(message).strip())), file=sys.stderr)
    raise SystemExit(2)


def warn(lines: Iterable[str]) -> None:
    """Print a line of warning each on standard error; a checkpoint from anywhere may have worded it."""
    for line in lines:
        print(f"warning: {visible(in_callers_words(line))}", file=sys.stderr)


def note(lines: Iterable[str]) -> None:
    """Print a line each on standard error that is no cause for worry."""
    for line in lines:
        print(f"note: {visible(in_callers_words(line))}", file=sys.stderr)


@contextlib.contextmanager
def streams_that_lose_nothing() -> Iterator[None]:
    """Read and write files and pipes as UTF-8, whatever the locale says; a terminal keeps its encoding.

    What a terminal cannot show is written as an escape. The streams are as they were before when the
    context ends: they are the caller's.
    """
    codecs.register_error(KEEP_ALL, _bytes_or_escape)
    before: list[tuple[io.TextIOWrapper, str, str | None]] = []
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            before.append((stream, stream.encoding, stream.errors))
            terminal = stream.isatty()
            writes = "backslashreplace" if terminal else KEEP_ALL
            _reconfigure(
                stream,
                _terminal_encoding(stream) if terminal else "utf-8",
                "surrogateescape" if stream is sys.stdin else writes,
            )
    try:
        yield
    finally:
        for stream, encoding, errors in before:
            _reconfigure(stream, encoding, errors)


KEEP_ALL = "jaxchar.keep_all"  # the error handler below, by its name


def _bytes_or_escape(error: UnicodeError) -> tuple[bytes, int]:
    """Encode what is no character: a byte of a path that is not UTF-8 as that byte, others as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    try:
        return error.object[error.start : error.end].encode("utf-8", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return error.object[error.start : error.end].encode("ascii", "backslashreplace"), error.end


def _terminal_encoding(stream: io.TextIOWrapper) -> str:
    """Return a terminal's encoding; ASCII of the C locale says nothing of it, and nearly all are UTF-8."""
    is_ascii = codecs.lookup(stream.encoding).name == "ascii"
    return "utf-8" if is_ascii and not os.environ.get("PYTHONIOENCODING") else stream.encoding


def _reconfigure(stream: io.TextIOWrapper, encoding: str, errors: str | None) -> None:
    with contextlib.suppress(OSError, ValueError):  # closed, gone, or read from: it stays as it is
        stream.reconfigure(encoding=encoding, errors=errors)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error that the user caused into one line and exit code 2; Ctrl-C into exit code 130."""
    with speaking("command line"), streams_that_lose_nothing(), _errors_in_one_line():
        yield


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except JaxcharError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader of our output has left: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or 'a file'}; see that it can be read and written")
    except ValueError as error:
        if not _is_about_jax_settings(error):
            raise
        fail(f"{error}; correct that variable of the environment, or unset it")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        fail("the machine has not enough memory for these settings; lower --batch-size, --seq-len or sizes")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def _is_about_jax_settings(error: ValueError) -> bool:
    """Whether JAX found a value in the environment that is none of its settings'."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and Path(frame.tb_frame.f_code.co_filename).parts[-3:] == (
        "jax",
        "_src",
        "config.py",
    )


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

    try:
        with contextlib.redirect_stderr(io.StringIO()), _looks_of_help():
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
def _looks_of_help() -> Iterator[None]:
    """Let tyro draw --help in what standard output can show; by itself it does not ask for NO_COLOR."""
    import tyro

    from jaxchar.screen import can_draw, has_colour

    options = tyro._experimental_options
    before = options.copy()
    options["ansi_codes"], options["utf8_boxes"] = has_colour(sys.stdout), can_draw(sys.stdout)
    try:
        yield
    finally:
        options.update(before)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while: tyro asks them for the terminal's width."""
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
    if 0xD800 <= code < 0xE000:  # half a character, as a path with odd bytes has it: no encoding writes it
        return "\ufffd"
    if character in "\n\t" or not (code < 32 or 127 <= code < 160):
        return character
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else "\ufffd"
