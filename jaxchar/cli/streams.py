"""The standard streams of a command: UTF-8 in files and pipes, and no character lost on a terminal."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def streams_that_lose_nothing() -> Iterator[None]:
    """Read and write files and pipes as UTF-8, whatever the locale says; a terminal keeps its encoding.

    What a terminal cannot show is written as an escape. The streams belong to the caller, so they are
    restored when the context ends.
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
    """Encode what is not a character: a byte of a path that is not UTF-8 as that byte, others as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    try:
        return error.object[error.start : error.end].encode("utf-8", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return error.object[error.start : error.end].encode("ascii", "backslashreplace"), error.end


def _terminal_encoding(stream: io.TextIOWrapper) -> str:
    """Return a terminal's encoding; the C locale's ASCII says nothing about it, and nearly all are UTF-8."""
    is_ascii = codecs.lookup(stream.encoding).name == "ascii"
    return "utf-8" if is_ascii and not os.environ.get("PYTHONIOENCODING") else stream.encoding


def _reconfigure(stream: io.TextIOWrapper, encoding: str, errors: str | None) -> None:
    with contextlib.suppress(OSError, ValueError):  # closed, gone, or already read from: it stays as it is
        stream.reconfigure(encoding=encoding, errors=errors)
